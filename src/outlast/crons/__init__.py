"""Start runs when a clock says so: once per tick, whatever the number of schedulers."""
