# The image of every Airflow service in docker-compose.yml: locked packages, then the project.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/billing/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/billing/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    PYTHONPATH=/opt/billing

# The log directory exists so that a volume mounted there belongs to the user, not to root.
RUN useradd --uid 50000 --create-home --home-dir /opt/airflow airflow \
    && install -d -o airflow -g airflow /opt/airflow/logs

# Packages change rarely: they come before the project, so that a code change rebuilds in seconds.
COPY requirements.txt /opt/billing/requirements.txt
RUN pip install --require-hashes --no-deps -r /opt/billing/requirements.txt

COPY billing_etl /opt/billing/billing_etl
COPY sql /opt/billing/sql
COPY dags /opt/billing/dags
COPY plugins /opt/billing/plugins

USER airflow
WORKDIR /opt/billing
EXPOSE 8080
CMD ["airflow", "version"]
