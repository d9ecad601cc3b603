"""Pages over N channels: the sender and the receiver, which know no codec."""
