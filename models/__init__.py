"""Credit models: features, outcomes, binning, scorecard, one fitted artefact that scores everywhere alike (architecture 8)."""
