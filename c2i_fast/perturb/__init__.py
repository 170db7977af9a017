"""From a saliency map to masked images: order, counts, baseline, plan, packing, passes."""
