"""Steps of the night, one module each: pure transforms inside, a thin `run` outside (architecture section 3)."""
