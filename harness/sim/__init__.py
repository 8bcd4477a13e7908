"""The simulated world: hosts, links and disks of which a seed decides everything."""
