"""What lets scikit-learn's checks, which give matrices, test estimators that take images."""

import numpy as np

#: Checks of what only a matrix can have. The images that stand for rows here are made from any matrix, so
#: that none of these faults reaches the estimator.
NO_MATRIX = {
    "check_n_features_in": "images of any size and number of pixels are taken: there is no n_features_in_",
    "check_n_features_in_after_fitting": "images of any size are taken: there is no n_features_in_",
    "check_estimators_nan_inf": "pixels are bytes, which cannot be NaN or infinite",
    "check_estimator_sparse_tag": "an image is no sparse matrix",
    "check_estimator_sparse_array": "an image is no sparse matrix",
    "check_estimator_sparse_matrix": "an image is no sparse matrix",
    "check_complex_data": "pixels are bytes, which cannot be complex",
    "check_estimators_empty_data_messages": "an image of no columns is refused, in other words",
    "check_fit1d": "images are a list, which has one dimension",
    "check_fit2d_predict1d": "images are a list, which has one dimension",
}


def images_of_rows(X):
    """Make a small grey image of each row of a matrix: a bar for each number, as bright as it is large."""
    X = np.asarray(X, dtype=np.float64)
    bars = np.clip(128 + 24 * X, 0, 255).astype(np.uint8)
    return [np.ascontiguousarray(np.broadcast_to(row, (8, len(row)))) for row in bars]
