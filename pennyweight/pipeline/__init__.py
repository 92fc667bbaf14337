"""pipeline: walks over whole models; `stream` goes tensor by tensor."""
