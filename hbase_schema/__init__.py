"""The history store on HBase: tables declared once, row keys, packed cells, client, Spark data source (architecture §5)."""
