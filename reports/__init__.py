"""Reports: one figure set a report, with its evidence rows, verifiable offline (architecture section 9)."""
