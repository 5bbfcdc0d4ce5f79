"""The stapler: asks responders, believes only what verifies, and never stops saying how it goes."""
