//! Keys whose form names their provider: the built-in table.
//!
//! A prefix, then parts: a class of bytes with its least and most count, or a text in
//! quotes, or a UUID. Parts are taken greedily and never given back, so a form is read once. Where
//! forms are from: what providers publish, and the rules of gitleaks (MIT), rewritten.

use super::kind::Kind;
use super::text::{
    ALNUM, DASH, DIGIT, DOT, EQUALS, HEX, HEX_LOWER, LOWER, PERCENT, PLUS, SLASH, Text, UNDERSCORE,
    UPPER, is,
};

pub(super) struct Family {
    /// The rule of its findings.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) prefix: &'static str,
    /// Whether the prefix is the same in small and capital letters.
    pub(super) any_case: bool,
    pub(super) body: &'static str,
}

const fn key(name: &'static str, prefix: &'static str, body: &'static str) -> Family {
    Family {
        name,
        kind: Kind::ApiKey,
        prefix,
        any_case: false,
        body,
    }
}

const fn jwt(prefix: &'static str, body: &'static str) -> Family {
    Family {
        name: "jwt",
        kind: Kind::Jwt,
        prefix,
        any_case: false,
        body,
    }
}

/// A part of a form.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Literal(&'static str),
    /// A class, its least and most count.
    Run(u16, usize, usize),
    Uuid,
}

/// The parts of a form; `None` when it is not one.
pub(super) fn parts(body: &'static str) -> Option<Vec<Part>> {
    body.split_whitespace().map(part).collect()
}

fn part(form: &'static str) -> Option<Part> {
    if let Some(literal) = form.strip_prefix('\'') {
        return Some(Part::Literal(literal.strip_suffix('\'')?));
    }
    let (letter, counts) = form.split_at_checked(1)?;
    let class = match letter {
        "a" => ALNUM,
        "b" => ALNUM | PLUS | SLASH,
        "B" => ALNUM | PLUS | SLASH | UNDERSCORE | DASH,
        "d" => DIGIT,
        "e" => ALNUM | PERCENT,
        "l" => DIGIT | LOWER,
        "p" => ALNUM | UNDERSCORE | DASH | DOT,
        "u" => DIGIT | UPPER,
        "v" => ALNUM | UNDERSCORE | DASH | DOT | EQUALS,
        "w" => ALNUM | UNDERSCORE | DASH,
        "x" => DIGIT | HEX_LOWER,
        "X" => HEX,
        "=" => EQUALS,
        "-" => DASH,
        "U" => return Some(Part::Uuid),
        _ => return None,
    };
    let (least, most) = counts.split_once('-').unwrap_or((counts, counts));
    Some(Part::Run(class, least.parse().ok()?, most.parse().ok()?))
}

impl Part {
    /// Where the part ends that begins at `from`.
    pub(super) fn end(self, text: &Text<'_>, from: usize) -> Option<usize> {
        match self {
            Part::Literal(literal) => text
                .has(from, literal.as_bytes())
                .then_some(from + literal.len()),
            Part::Run(class, least, most) => {
                let end = text.run(from, class, most);
                (end - from >= least).then_some(end)
            }
            Part::Uuid => uuid(text, from),
        }
    }
}

fn uuid(text: &Text<'_>, from: usize) -> Option<usize> {
    let fits = (0..36).all(|nth| {
        let byte = text.at(from + nth);
        match nth {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => is(byte, HEX),
        }
    });
    fits.then_some(from + 36)
}

#[rustfmt::skip]
pub(super) static FAMILIES: &[Family] = &[
    key("aws_access_key_id", "AKIA", "u16"),
    key("aws_access_key_id", "ASIA", "u16"),
    key("aws_access_key_id", "ABIA", "u16"),
    key("aws_access_key_id", "ACCA", "u16"),
    key("aws_access_key_id", "AROA", "u16-17"),
    key("aws_access_key_id", "AIDA", "u16-17"),
    key("aws_access_key_id", "A3T", "u17"),
    key("aws_bedrock_key", "ABSK", "b109-269 =0-2"),
    key("aws_mws_key", "amzn.mws.", "U"),
    key("aws_appsync_key", "da2-", "l26"),
    key("gcp_api_key", "AIza", "w35"),
    key("gcp_oauth_token", "ya29.", "w20-1024"),
    key("gcp_oauth_secret", "GOCSPX-", "w28"),
    key("gcp_refresh_token", "1//0", "w40-120"),
    key("azure_storage_key", "AccountKey=", "b40-100 =0-2"),
    key("azure_sas_signature", "SharedAccessKey=", "b40-100 =0-2"),
    key("azure_devops_token", "AzDo", "a76"),
    key("github_token", "ghp_", "a36-255"),
    key("github_token", "gho_", "a36-255"),
    key("github_token", "ghu_", "a36-255"),
    key("github_token", "ghs_", "a36-255"),
    key("github_token", "ghr_", "a36-255"),
    key("github_fine_grained_token", "github_pat_", "v22-255"),
    key("gitlab_token", "glpat-", "p20-300"),
    key("gitlab_token", "glptt-", "w20-64"),
    key("gitlab_token", "gldt-", "w20-64"),
    key("gitlab_token", "glcbt-", "w20-64"),
    key("gitlab_token", "glrt-", "p20-64"),
    key("gitlab_token", "glrtr-", "p20-64"),
    key("gitlab_token", "glft-", "w20-64"),
    key("gitlab_token", "glsoat-", "w20-64"),
    key("gitlab_token", "glimt-", "w25-64"),
    key("gitlab_token", "glagent-", "w50-64"),
    key("gitlab_token", "gloas-", "w64-64"),
    key("gitlab_token", "glffct-", "w20-64"),
    key("gitlab_runner_token", "GR1348941", "w20-50"),
    key("bitbucket_token", "ATBB", "a28-32"),
    key("bitbucket_token", "ATCTT3", "v160-220"),
    key("slack_token", "xoxb-", "w10-250"),
    key("slack_token", "xoxp-", "w10-250"),
    key("slack_token", "xoxa-", "w10-250"),
    key("slack_token", "xoxr-", "w10-250"),
    key("slack_token", "xoxs-", "w10-250"),
    key("slack_token", "xoxo-", "w10-250"),
    key("slack_token", "xoxe-", "w10-250"),
    key("slack_token", "xoxe.", "w10-250"),
    key("slack_token", "xoxd-", "w10-250"),
    key("slack_token", "xoxc-", "w10-250"),
    key("slack_app_token", "xapp-", "d1 '-' u8-14 '-' d8-14 '-' a20-80"),
    key("slack_webhook", "hooks.slack.com/", "'services/' B40-60"),
    key("slack_webhook", "hooks.slack.com/", "'workflows/' B40-80"),
    key("slack_webhook", "hooks.slack.com/", "'triggers/' B40-80"),
    key("discord_webhook", "discord.com/api/", "'webhooks/' d17-20 '/' w60-80"),
    key("discord_webhook", "discordapp.com/api/", "'webhooks/' d17-20 '/' w60-80"),
    key("teams_webhook", "webhook.office.com/", "'webhookb2/' U '@' U '/IncomingWebhook/' a32 '/' U"),
    key("stripe_key", "sk_live_", "a10-255"),
    key("stripe_key", "sk_test_", "a10-255"),
    key("stripe_key", "sk_prod_", "a10-255"),
    key("stripe_key", "rk_live_", "a10-255"),
    key("stripe_key", "rk_test_", "a10-255"),
    key("stripe_key", "rk_prod_", "a10-255"),
    key("stripe_publishable_key", "pk_live_", "a20-255"),
    key("stripe_webhook_secret", "whsec_", "b32-64 =0-2"),
    key("anthropic_key", "sk-ant-", "w20-200"),
    key("openrouter_key", "sk-or-v1-", "x64"),
    key("openai_key", "sk-proj-", "w20-200"),
    key("openai_key", "sk-svcacct-", "w20-200"),
    key("openai_key", "sk-admin-", "w20-200"),
    key("openai_key", "sk-None-", "w20-200"),
    key("openai_key", "sk-", "a32-64"),
    key("langsmith_key", "lsv2_pt_", "x32 '_' x10"),
    key("langsmith_key", "lsv2_sk_", "x32 '_' x10"),
    key("langsmith_key", "ls__", "l32"),
    key("langfuse_key", "sk-lf-", "U"),
    key("langfuse_key", "pk-lf-", "U"),
    key("huggingface_token", "hf_", "a30-40"),
    key("huggingface_token", "api_org_", "a30-40"),
    key("replicate_token", "r8_", "w37-40"),
    key("groq_key", "gsk_", "a48-60"),
    key("xai_key", "xai-", "w70-90"),
    key("perplexity_key", "pplx-", "a40-60"),
    key("cerebras_key", "csk-", "l40-60"),
    key("fireworks_key", "fw_", "a22-30"),
    key("nvidia_key", "nvapi-", "w60-70"),
    key("tavily_key", "tvly-", "w20-60"),
    key("elevenlabs_key", "sk_", "x48"),
    key("pinecone_key", "pcsk_", "w50-80"),
    key("npm_token", "npm_", "a36"),
    key("npm_legacy_auth", "_authToken=", "w20-64"),
    key("pypi_token", "pypi-", "w50-1000"),
    key("rubygems_key", "rubygems_", "x48"),
    key("crates_io_token", "cio", "a32"),
    key("clojars_token", "CLOJARS_", "l60"),
    key("nuget_key", "oy2", "l43"),
    key("docker_token", "dckr_pat_", "w27-36"),
    key("docker_token", "dckr_oat_", "w27-40"),
    key("docker_swarm_token", "SWMTKN-1-", "l50 '-' l25"),
    key("docker_swarm_key", "SWMKEY-1-", "w43"),
    key("artifactory_key", "AKCp", "a69-73"),
    key("artifactory_token", "cmVmd", "a59"),
    key("artifactory_token", "cmVmtok", "a50-60"),
    key("sendgrid_key", "SG.", "w20-24 '.' w39-50"),
    key("mailgun_key", "key-", "l32"),
    key("mailgun_key", "pubkey-", "x32"),
    key("sendinblue_key", "xkeysib-", "x64 '-' a16"),
    key("sendinblue_key", "xsmtpsib-", "x64 '-' a16"),
    key("mailjet_key", "mlsn.", "x64"),
    key("resend_key", "re_", "a8-10 '_' a20-30"),
    key("telegram_token", "bot", "d8-10 ':' w35"),
    key("shopify_token", "shpat_", "X32"),
    key("shopify_token", "shpca_", "X32"),
    key("shopify_token", "shppa_", "X32"),
    key("shopify_token", "shpss_", "X32"),
    key("shopify_token", "shptka_", "X32"),
    key("shopify_token", "shpua_", "X32"),
    key("shopify_token", "shpit_", "X32"),
    key("square_token", "sq0atp-", "w22-60"),
    key("square_token", "sq0csp-", "w40-60"),
    key("square_token", "sq0idp-", "w22"),
    key("square_token", "EAAA", "w55-64"),
    key("paypal_braintree_token", "access_token$", "'production$' l16 '$' x32"),
    key("paypal_braintree_token", "access_token$", "'sandbox$' l16 '$' x32"),
    key("plaid_token", "access-sandbox-", "U"),
    key("plaid_token", "access-development-", "U"),
    key("plaid_token", "access-production-", "U"),
    key("razorpay_key", "rzp_live_", "a14-20"),
    key("razorpay_key", "rzp_test_", "a14-20"),
    key("flutterwave_key", "FLWSECK_TEST-", "a12-64"),
    key("flutterwave_key", "FLWSECK-", "a32 '-X'"),
    key("flutterwave_key", "FLWPUBK_TEST-", "a32 '-X'"),
    key("easypost_key", "EZAK", "a54"),
    key("easypost_key", "EZTK", "a54"),
    key("shippo_token", "shippo_live_", "X40"),
    key("shippo_token", "shippo_test_", "X40"),
    key("lob_key", "live_", "x35"),
    key("lob_key", "test_", "x35"),
    key("gocardless_token", "live_", "w40-42"),
    key("duffel_token", "duffel_test_", "v43"),
    key("duffel_token", "duffel_live_", "v43"),
    key("digitalocean_token", "dop_v1_", "x64"),
    key("digitalocean_token", "doo_v1_", "x64"),
    key("digitalocean_token", "dor_v1_", "x64"),
    key("digitalocean_spaces_key", "DO00", "u16"),
    key("heroku_key", "HRKU-", "w36-70"),
    key("fly_token", "fo1_", "w43"),
    key("fly_token", "fm1r_", "b80-2000 =0-3"),
    key("fly_token", "fm1a_", "b80-2000 =0-3"),
    key("fly_token", "fm2_", "b80-2000 =0-3"),
    key("render_key", "rnd_", "a28-36"),
    key("netlify_token", "nfp_", "a36-46"),
    key("vercel_token", "vcp_", "a24-60"),
    key("scalingo_token", "tk-us-", "w48"),
    key("scaleway_key", "SCW", "u17"),
    key("planetscale_token", "pscale_tkn_", "v32-64"),
    key("planetscale_token", "pscale_oauth_", "v32-64"),
    key("planetscale_token", "pscale_pw_", "v32-64"),
    key("supabase_key", "sbp_", "x40"),
    key("supabase_key", "sb_secret_", "w20-60"),
    key("supabase_key", "sb_publishable_", "w20-60"),
    key("neon_key", "napi_", "l60-70"),
    key("databricks_token", "dapi", "x32 -0-1 d0-1"),
    key("databricks_token", "dkea", "x32"),
    key("databricks_token", "dose", "x32"),
    key("databricks_token", "dsapi", "x32"),
    key("databricks_token", "dapi-", "x32"),
    key("snowflake_token", "ver:1-hint:", "d8-20 '-ETMsDgAAA' b40-400 =0-2"),
    key("clickhouse_key", "4b1d", "a38"),
    key("grafana_key", "eyJrIjoi", "a70-400 =0-3"),
    key("grafana_token", "glc_", "b32-400 =0-3"),
    key("grafana_token", "glsa_", "a32 '_' X8"),
    key("sentry_token", "sntrys_", "b80-400 =0-2 '_' b43"),
    key("sentry_token", "sntryu_", "x64"),
    key("sentry_token", "sntrya_", "x64"),
    key("newrelic_key", "NRAK-", "a27"),
    key("newrelic_key", "NRII-", "w32"),
    key("newrelic_key", "NRJS-", "x19"),
    key("newrelic_key", "NRRA-", "x42"),
    key("newrelic_key", "NRSP-", "w30-50"),
    key("newrelic_license_key", "eu01xx", "x34"),
    key("honeycomb_key", "hcaik_", "l58"),
    key("honeycomb_key", "hcalk_", "l58"),
    key("honeycomb_key", "hcxik_", "l58"),
    key("dynatrace_token", "dt0c01.", "a24 '.' a64"),
    key("dynatrace_token", "dt0s01.", "a8-24 '.' a64"),
    key("dynatrace_token", "dt0s02.", "a8-24 '.' a64"),
    key("logfire_token", "pylf_v1_", "l2 '_' a40-50"),
    key("posthog_key", "phc_", "a43"),
    key("posthog_key", "phx_", "a43-48"),
    key("segment_token", "sgp_", "w43-60"),
    key("launchdarkly_key", "sdk-", "U"),
    key("launchdarkly_key", "mob-", "U"),
    key("vault_token", "hvs.", "w24-300"),
    key("vault_token", "hvb.", "w100-400"),
    key("vault_token", "hvr.", "w24-300"),
    key("vault_unseal_key", "vault:v1:", "b20-300 =0-2"),
    key("doppler_token", "dp.pt.", "a40-44"),
    key("doppler_token", "dp.st.", "v40-80"),
    key("doppler_token", "dp.ct.", "a40-44"),
    key("doppler_token", "dp.sa.", "a40-44"),
    key("doppler_token", "dp.scim.", "a40-44"),
    key("doppler_token", "dp.audit.", "a40-44"),
    key("onepassword_key", "A3-", "u6 '-' u11 '-' u5 '-' u5 '-' u5"),
    key("onepassword_key", "A3-", "u6 '-' u6 '-' u5 '-' u5 '-' u5 '-' u5"),
    key("onepassword_token", "ops_eyJ", "b200-1500 =0-3"),
    key("age_secret_key", "AGE-SECRET-KEY-1", "u58"),
    key("infisical_token", "st.", "x24 '.' x32 '.' x32"),
    key("linear_key", "lin_api_", "a40-48"),
    key("linear_key", "lin_oauth_", "a40-64"),
    key("linear_key", "lin_wh_", "a40-48"),
    key("notion_token", "secret_", "a43"),
    key("notion_token", "ntn_", "a46-50"),
    key("airtable_token", "pat", "a14 '.' x64"),
    key("atlassian_token", "ATATT3", "v180-200"),
    key("atlassian_token", "ATSTT3", "v180-240"),
    key("figma_token", "figd_", "w40-60"),
    key("figma_token", "figdr_", "w40-60"),
    key("figma_token", "figo_", "w40-60"),
    key("typeform_token", "tfp_", "v40-80"),
    key("zapier_webhook", "hooks.zapier.com/", "'hooks/catch/' d5-10 '/' a5-10"),
    key("hubspot_token", "pat-na1-", "U"),
    key("hubspot_token", "pat-eu1-", "U"),
    key("intercom_token", "dG9rO", "b50-80 =0-2"),
    key("frameio_token", "fio-u-", "w64"),
    key("mapbox_token", "pk.eyJ", "w50-200 '.' w20-24"),
    key("mapbox_token", "sk.eyJ", "w50-200 '.' w20-24"),
    key("mapbox_token", "tk.eyJ", "w50-200 '.' w20-24"),
    key("postman_key", "PMAK-", "x24 '-' x34"),
    key("postman_key", "PMAT-", "u26"),
    key("readme_key", "rdme_", "l70"),
    key("prefect_token", "pnu_", "a36"),
    key("pulumi_token", "pul-", "x40"),
    key("infracost_key", "ico-", "a32"),
    key("terraform_token", "atlasv1.", "w60-70"),
    key("octopus_key", "API-", "u25-28"),
    key("buildkite_token", "bkua_", "x40"),
    key("buildkite_token", "bkaj_", "x40"),
    key("circleci_token", "CCIPAT_", "a22 '_' x40"),
    key("circleci_token", "CCIPRJ_", "a22 '_' x40"),
    key("sonar_token", "squ_", "x40"),
    key("sonar_token", "sqp_", "x40"),
    key("sonar_token", "sqa_", "x40"),
    key("snyk_token", "snyk_uat.", "x8 '.' w40-200"),
    key("snyk_token", "snyk_sat.", "x8 '.' w40-200"),
    key("sourcegraph_token", "sgp_", "X40"),
    key("sourcegraph_token", "sgp_", "X16 '_' X40"),
    key("sourcegraph_token", "slk_", "x64"),
    key("stackhawk_key", "hawk.", "w20 '.' w20"),
    key("harness_token", "pat.", "w22 '.' a24 '.' a20"),
    key("harness_token", "sat.", "w22 '.' a24 '.' a20"),
    key("openshift_token", "sha256~", "w43"),
    key("kubernetes_bootstrap_token", "kubeconfig-u-", "l5 ':' l54"),
    key("rancher_token", "token-", "l5 ':' l54"),
    key("jfrog_token", "reftkn:", "d2 ':' d10 ':' a28"),
    key("tailscale_key", "tskey-", "w20-80"),
    key("ngrok_token", "cr_", "a27"),
    key("cloudflare_ca_key", "v1.0-", "x24 '-' x140-150"),
    key("cloudflare_token", "cfat_", "w40-60"),
    key("cloudflare_token", "cfut_", "w40-60"),
    key("facebook_token", "EAAC", "a80-300"),
    key("facebook_token", "EAAM", "a80-300"),
    key("facebook_token", "EAAB", "a80-300"),
    key("facebook_token", "EAAG", "a80-300"),
    key("facebook_token", "EAAI", "a80-300"),
    key("instagram_token", "IGQV", "w80-300"),
    key("twitter_bearer_token", "AAAAAAAAAAAAAAAAAAAAA", "e40-120"),
    key("linkedin_token", "WPL_AP", "d1 '.' w16 '.' w8 =0-2"),
    key("tiktok_token", "act.", "w40-80"),
    key("dropbox_token", "sl.", "w100-200"),
    key("dropbox_token", "sl.u.", "w100-1200"),
    key("yandex_token", "t1.", "w5-300 =0-2 '.' w86 =0-2"),
    key("yandex_token", "AQVN", "w35-38"),
    key("yandex_token", "YCAJ", "w21"),
    key("yandex_token", "YCM", "w36-38"),
    key("yandex_token", "y0_", "w30-80"),
    key("alibaba_key", "LTAI", "a12-24"),
    key("tencent_key", "AKID", "a32"),
    key("volcengine_key", "AKLT", "w40-64"),
    key("baidu_key", "bce-v3/", "'ALTAK-' a21 '/' x40"),
    key("adafruit_key", "aio_", "a28"),
    key("adobe_secret", "p8e-", "w32"),
    key("adobe_token", "eyJ4NXUiOi", "w100-3000 '.' w100-3000 '.' w100-600"),
    key("contentful_token", "CFPAT-", "w43"),
    key("wakatime_key", "waka_", "U"),
    key("settlemint_token", "sm_aat_", "a16"),
    key("settlemint_token", "sm_pat_", "a16"),
    key("settlemint_token", "sm_sat_", "a16"),
    key("defined_token", "dnkey-", "w26 '-' w52"),
    key("authress_key", "sc_", "a5-30 '.' a4-6 '.acc' w10-40 '.' b30-120 =0-2"),
    key("authress_key", "ext_", "a5-30 '.' a4-6 '.acc' w10-40 '.' b30-120 =0-2"),
    key("intra42_secret", "s-s4t2ud-", "x64"),
    key("intra42_secret", "s-s4t2af-", "x64"),
    key("dependency_track_key", "odt_", "a32"),
    key("dependency_track_key", "odt_", "a8 '_' a32"),
    key("blockchain_key", "xprv", "a107"),
    key("zuplo_key", "zpka_", "x32 '_' x8"),
    key("persona_key", "persona_production_", "U"),
    key("persona_key", "persona_sandbox_", "U"),
    key("pagerduty_key", "pdus+", "w20-40"),
    key("deno_token", "ddp_", "a36"),
    key("deno_token", "ddw_", "a36"),
    key("cursor_key", "key_", "x64"),
    key("apify_token", "apify_api_", "a30-40"),
    key("courier_key", "pk_prod_", "a28"),
    key("courier_key", "dk_prod_", "a28"),
    key("checkly_key", "cu_", "x32"),
    key("hashicorp_token", "hcp.", "w60-400"),
    jwt("eyJ", "w14-4096 '.' w8-6144 '.' w0-1024"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        for family in FAMILIES {
            assert!(
                parts(family.body).is_some(),
                "{}: {}",
                family.name,
                family.body
            );
            assert!(
                family.prefix.len() >= 3,
                "{}: {}",
                family.name,
                family.prefix
            );
        }
    }
}
