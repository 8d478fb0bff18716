"""Times training steps and translation on this machine: precisions, memory layouts, layers, threads, compilation."""
