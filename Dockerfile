# For CPU and CUDA: PyTorch's own wheels bring CUDA's libraries along. Smaller, for CPUs alone: name an index of CPU wheels by
# --build-arg PIP_INDEX_URL=...
#
# docker build -t i2i .
# docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/data" [--gpus all] i2i train --arch cyclegan-fast --data FOLDER
FROM python:3.11-slim
ARG PIP_INDEX_URL
COPY . /src
RUN pip install --no-cache-dir '/src[demo,eval,export]' && rm -r /src
# It runs as the user who calls it, who may not be known inside: what is kept between calls lies in the mounted folder.
ENV HOME=/tmp I2I_CACHE=/data/.i2i-cache
WORKDIR /data
ENTRYPOINT ["i2i"]
