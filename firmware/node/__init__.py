# What every device has: journal, clock, keys and counters, uplink, and the tasks that join them.
