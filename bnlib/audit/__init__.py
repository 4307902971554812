"""What the batch normalizations of a checkpoint look like; never mutates, never downloads.

`checkpoint` reads a file safely, `layers` finds the normalizations and measures each channel,
`findings` says what stands out, `summary` and `associations` describe a whole network, `page` and
`command` report. Nothing is imported here: the command line must start without torch.
"""
