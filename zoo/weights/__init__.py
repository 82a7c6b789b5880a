"""From a registry entry to a verified folder in timm's layout: download, digest, convert."""
