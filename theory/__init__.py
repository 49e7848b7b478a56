"""The theory: claims, their derivations and certificates, and the small checker."""
