"""What a reward or an annotator is worth: accuracy, calibration, agreement, best of n."""
