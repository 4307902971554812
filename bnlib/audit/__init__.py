"""What the batch normalizations of a checkpoint look like; never mutates, never downloads.

`layers` reads a file safely, finds the normalizations and measures each channel, `findings` says
what stands out, `summary` describes a whole network, `report` and `command` tell. Nothing is
imported here: the command line must start without torch.
"""
