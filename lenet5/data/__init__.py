"""Data sets, folders of pictures, fonts, augmentation, made-up pictures."""
