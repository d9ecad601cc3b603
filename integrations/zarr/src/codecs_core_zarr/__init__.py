"""The codecs of codecs-core for chunks of arrays.

``codecs_core_zarr.zarr3`` has them as bytes-to-bytes codecs of zarr 3,
``codecs_core_zarr.numcodec`` as codecs of numcodecs, which serve zarr's format 2 and whatever else
uses numcodecs. Both libraries find them by their entry points; to read an array, nothing has to be
imported. What a chunk holds is the codec's standard file format.
"""
