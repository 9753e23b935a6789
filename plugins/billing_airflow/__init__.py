"""What joins the pipeline to Airflow: the engine and hours of a task run, shared tasks, pools."""
