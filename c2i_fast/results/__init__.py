"""Run directories: written part by part, resumed, read, summed up."""
