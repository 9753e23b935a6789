-- Purpose: what the columns of the table of profiles mean; the table is made by migration 0021
-- Grain:   account
comment on table account_read_model.account_billing_profiles is 'What an account pays, as written last; writable. Grain: one row per account with a price of its own. Source: account services, whose insert or update is a new dated version of scope account from the minute of the write, or the first free one after it (R2); and `billing-etl price publish`. `billing-etl price list` shows which version applies when.';
comment on column account_read_model.account_billing_profiles.account_uuid is 'Account; it may be written before its first usage.';
comment on column account_read_model.account_billing_profiles.package_name is 'What the account service calls the package; no price depends on it.';
comment on column account_read_model.account_billing_profiles.included_quota_bytes is 'Included quota in bytes per billing period; a new one counts from the next period on (R3).';
comment on column account_read_model.account_billing_profiles.base_price_per_byte is 'Price of one byte before multipliers, in the currency of the price book; read as the shortest decimal that is this number.';
comment on column account_read_model.account_billing_profiles.region_multiplier is 'Factor on the price in every region that the version does not name.';
comment on column account_read_model.account_billing_profiles.line_multiplier is 'Factor on the price on every inbound that the version does not name.';
comment on column account_read_model.account_billing_profiles.peak_multiplier is 'Factor on the price in the peak hours, which are those of the price that the profile followed.';
comment on column account_read_model.account_billing_profiles.offpeak_multiplier is 'Factor on the price in all other hours.';
comment on column account_read_model.account_billing_profiles.pricing_rule_version is 'What the account service calls the price, which many accounts may share; a version that was published has its own name here.';
comment on column account_read_model.account_billing_profiles.created_at is 'When the row was first written, UTC; what a writer gives is ignored.';
comment on column account_read_model.account_billing_profiles.updated_at is 'When the row was last written, UTC; what a writer gives is ignored.';
