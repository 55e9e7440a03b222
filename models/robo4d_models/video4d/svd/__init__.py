"""The `svd` preset: the paper's 2.4 B latent diffusion model for two views, on Stable Video Diffusion's blocks.

`network` predicts, `edm` trains and samples it, `vae` and `conditioning` stand between latents and RGB-D images,
`model` holds all of these with their weights, `pipeline` makes a video of a pair of frames; start reading there.
"""
