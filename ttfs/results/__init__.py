"""What runs leave behind and what is made of it: records, tables, figures, and the MLflow view of them."""
