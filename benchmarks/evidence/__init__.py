"""Evidence for how refresh tokens rotate: nothing here is measured on a clock."""
