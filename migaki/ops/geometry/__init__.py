"""Correspondence and cameras from pictures: stereo, flow, poses, depth. Arrays in, arrays out, float32."""
