"""The truth: a world of platforms and people, the files it would send, the faults it plants, the answer key."""
