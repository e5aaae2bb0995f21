"""The words and the arithmetic of custody supervision: pure, no input or output."""
