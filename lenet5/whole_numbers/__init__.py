"""Numbers of any length: lines and strips, the space displacement network, decoding."""
