"""What every part uses: errors, configs, storage, Ray sessions."""
