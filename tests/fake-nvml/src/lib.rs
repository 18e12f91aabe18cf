//! A `libnvidia-ml.so` without a driver.
