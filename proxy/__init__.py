"""Any call in, any call out: the switch, its ports, and which node and instance a call goes to."""
