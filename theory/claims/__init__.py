"""One file a claim.  The file name starts with the claim's id: `t3_5_any_sequence.py` holds T3.5."""
