"""The bundled history replayed: every strategy on each dataset in turn, that dataset left out."""
