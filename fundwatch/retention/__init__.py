"""Retention: what has been kept for its time is deleted by a policy that is data, with a plan before and a certificate after."""
