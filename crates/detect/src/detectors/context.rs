//! Which telling words stand before a place: a number next to `phone` is read otherwise
//! than one next to `order`.
//!
//! Words are read once, forward, when a place asks for what stands before it; only the last
//! place of each topic is kept.

use super::text::{HIGH, LETTER, Text};
use super::words::{self, Mixed, TOPS, within};
use std::sync::LazyLock;

/// How far back a place looks for words.
pub(super) const REACH: usize = 96;

/// What a word is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    Phone,
    Ssn,
    Passport,
    Card,
    Version,
    /// Order, invoice, serial and other numbers that are nobody's.
    Number,
    Ip,
    /// A secret follows.
    Secret,
    /// A secret follows, or a key of a map.
    Key,
    /// Names of providers that issue keys.
    Provider,
    /// Random-looking and public: digests, ids.
    Public,
}

const TOPICS: usize = 11;

const LISTS: [(Topic, &str); TOPICS] = [
    (
        Topic::Phone,
        "phone phones telephone telephones tel telefon telefono telefone telefoon telefonu \
         telefonnummer telefonnumer telefonszám telefono mobile mobil mobiel mobilnummer mob cell cells \
         cellphone cellular fax faks call calling called calls callback dial dialing ring text \
         texted texting sms whatsapp whats telegram contact reach reached handy handynummer celular \
         movil móvil teléfono téléphone téléphones portable appelez appeler appelle joindre \
         llamar llame llamame llámame anrufen anrufe rufen rufnummer gsm hotline helpline viber \
         voicemail landline telefonie chiamare chiamami chiama cellulare ligar ligue telemóvel \
         bel bellen mobieltje puhelin puhelinnumero puh nummer ringa ring mobilen tlf tlfnr telefonní \
         mobilní telefonický komórka komórkowy zadzwoń zadzwonić numer telefonicznie hívjon hívj hívja \
         телефон телефона телефону тел моб мобильный мобильного позвоните звоните позвони \
         звонить τηλέφωνο τηλ κινητό 电话 电话号 手机 手机号 电邮 電話 携帯 手機 전화 휴대 연락 \
         telefonum telefonu cep ara arayın ligação dialed ph phn phonenumber homephone workphone mobilephone",
    ),
    (
        Topic::Ssn,
        "ssn ssns social socialsecurity sozialversicherungsnummer sin itin taxpayer",
    ),
    (
        Topic::Passport,
        "passport passports passeport reisepass reisepassnummer pasaporte passaporto passaporte \
         paspoort paspoortnummer paszport paszportu pass passi pas útlevél pasaportu pasaport \
         паспорт паспорта загранпаспорт διαβατήριο 护照 護照 旅券 여권 passnummer passportnumber \
         passportno",
    ),
    (
        Topic::Card,
        "card cards creditcard debit visa mastercard amex maestro discover carte kreditkarte \
         kreditkartennummer karte tarjeta carta cartão kaart karta cc pan kort kortnummer карта карты 卡号 信用卡",
    ),
    (
        Topic::Version,
        "version versions ver release releases build firmware upgraded section \
         sec chapter clause paragraph rev oid schema",
    ),
    (
        Topic::Number,
        "order orders invoice invoices tracking account acct ref reference ticket serial isbn \
         sku case batch po parcel shipment zip postcode postal quantity amount total price \
         population bestellnummer rechnung facture commande pedido factura ordine fattura \
         zamówienie faktura заказ счет 订单 编号 注文 timestamp epoch unix patent article item \
         part parts issn doi pmid barcode ean upc hash commit build line lines row rows page pages port \
         revenue usd eur gbp million thousand bytes pixels",
    ),
    (
        Topic::Ip,
        "ip ips ipv address addresses host hosts server servers dns gateway subnet addr",
    ),
    (
        Topic::Secret,
        "secret secrets token tokens apikey apikeys apitoken authtoken accesskey secretkey \
         credential credentials creds password passwd pwd passphrase bearer authorization \
         privatekey clientsecret accesstoken refreshtoken api auth oauth access private signing \
         encryption webhook sas sharedaccesskey sharedsecret subscription license licence \
         clave jeton schlüssel schluessel chiave senha geheim ключ токен 密钥 令牌 xapikey \
         apisecret consumersecret authkey secretaccesskey seed mnemonic",
    ),
    (
        Topic::Key,
        "key keys pass pin salt sig signature session sid cookie",
    ),
    (
        Topic::Provider,
        "adafruit adobe airtable algolia alibaba aliyun amazon anthropic amplitude apify appsflyer \
         artifactory asana atlassian auth0 authy aws azure baidu beamer bitbucket bitly bittrex \
         blynk branch braintree buildkite bugsnag bunny census chargebee circleci clearbit clickup \
         clojars cloudflare cloudinary cloudsight codacy codeclimate codecov cohere coinbase \
         confluence confluent contentful courier coveralls customerio databricks datadog deepl \
         deepseek digitalocean discord discogs docker dockerhub doppler droneci dropbox duffel \
         dynatrace easypost elastic elasticsearch etsy eventbrite facebook fastly fedex figma \
         finicity finnhub firebase flickr flutterwave foursquare freshbooks freshdesk ftp gcp \
         gemini geocode github gitlab gitter giphy gocardless google grafana gumroad harness \
         heroku honeycomb hubspot huggingface infracost infura instagram intercom ipstack jenkins \
         jfrog jira jumpcloud klaviyo kraken kucoin langchain langfuse launchdarkly line linear \
         linkedin linode lob logdna loggly lokalise mailchimp mailgun mailjet mandrill mapbox \
         mapquest mattermost meraki messagebird microsoft mistral mixpanel monday mongodb nasdaq \
         netlify newrelic nexmo ngrok notion npm nytimes okta onelogin onesignal openai openweather \
         openweathermap opsgenie optimizely pagerduty particle paypal paystack pendo percy \
         perplexity pinata pinecone pipedrive plaid planetscale plivo postman postmark prefect \
         private privateai pubnub pulumi pusher rabbitmq rapidapi razorpay readme recaptcha \
         reddit redis render replicate rollbar rubygems salesforce saucelabs scaleway segment \
         sendbird sendgrid sendinblue sentry shodan shippo shopify sidekiq slack smartsheet snyk \
         sonar sonarqube sonarcloud sourcegraph splunk spotify square squarespace steam strava \
         stripe sumo sumologic supabase surge tailscale telegram telegr telnyx terraform tmdb \
         together todoist travis trello twilio twitch twitter typeform unsplash ups vault vercel \
         virustotal vonage vultr wakatime watson weather weatherstack wistia wordpress yandex yelp \
         youtube zapier zendesk zenscrape zoho zoom ibm oracle okex binance bitfinex bitmex bybit \
         coinapi cryptocompare etherscan alchemy moralis quicknode sauce dependencytrack defined \
         dnkey jotform kubernetes kube openshift rancher mapquest nvidia groq xai fireworks \
         voyage elevenlabs assemblyai deepgram stability runpod pulsedive securitytrails urlscan \
         censys hunter fullcontact clarifai zerobounce abuseipdb alienvault greynoise",
    ),
    (
        Topic::Public,
        "public commit sha hash checksum digest etag uuid guid md5 integrity revision fingerprint \
         idempotency cache primary foreign partition trace span request correlation thumbprint \
         nonce build image example placeholder pubkey publickey publishable locale anchor \
         boundary transaction keyid idx index sort routing",
    ),
];

static WORDS: LazyLock<Words> = LazyLock::new(Words::new);

/// Word to topics, by hash.
struct Words {
    slots: Box<[(u64, u16)]>,
}

const SLOTS: usize = 4096;

impl Words {
    fn new() -> Words {
        let mut words = Words {
            slots: vec![(0, 0); SLOTS].into_boxed_slice(),
        };
        for (topic, list) in LISTS {
            for word in list.split_whitespace() {
                for form in super::phrases::fold(word) {
                    words.add(Mixed::of(form.as_bytes()).value(), 1 << topic as u16);
                }
            }
        }
        words
    }

    fn add(&mut self, hash: u64, topics: u16) {
        let mut at = (hash >> 24) as usize % SLOTS;
        while let Some(slot) = self.slots.get_mut(at) {
            if slot.0 == 0 || slot.0 == hash {
                *slot = (hash, slot.1 | topics);
                return;
            }
            at = (at + 1) % SLOTS;
        }
    }

    fn topics(&self, hash: u64) -> u16 {
        let mut at = (hash >> 24) as usize % SLOTS;
        loop {
            match self.slots.get(at) {
                Some((other, topics)) if *other == hash => return *topics,
                Some((0, _)) | None => return 0,
                Some(_) => at = (at + 1) % SLOTS,
            }
        }
    }
}

/// The eight bytes from a place on, 0 from `end` on.
#[inline]
fn eight(text: &Text<'_>, at: usize, end: usize) -> u64 {
    let eight = words::eight(text.from(at));
    match end - at {
        8.. => eight,
        bytes => eight & ((1 << (bytes * 8)) - 1),
    }
}

/// The top bit of the last of eight bytes.
const LAST: u64 = 1 << 63;

/// Of each byte its top bit: of small letters of ASCII, and of capitals and what is beyond.
#[inline]
fn letters(eight: u64) -> (u64, u64) {
    let high = eight & TOPS;
    let small = within(eight, b'a', b'z') & !high;
    (small, within(eight, b'A', b'Z') | high)
}

/// Where each topic was last spoken of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Context {
    /// Words that end before this are read.
    read: usize,
    /// End of the last word of each topic; 0: none.
    last: [usize; TOPICS],
}

impl Context {
    /// Reads the words up to `at`.
    pub(super) fn read(&mut self, text: &Text<'_>, at: usize) {
        let from = self.read.max(at.saturating_sub(REACH)).max(text.base());
        text.count(at.saturating_sub(from));
        let mut place = from;
        'eights: while place < at {
            let eight = eight(text, place, at);
            let (small, others) = letters(eight);
            let all = small | others;
            let ends = !all & TOPS | others & !eight & small << 8;
            // No single letter says anything; of the last one it is not known whether it is.
            let mut left = all & (all << 8 | all >> 8 | LAST);
            while left != 0 {
                let first = left.trailing_zeros() & !7;
                let after = ends & (!0xff << first);
                // A word of letters that ends here is at hand.
                let word =
                    eight >> first & ((after & after.wrapping_neg()) >> 7 >> first).wrapping_sub(1);
                if after == 0 || word & TOPS != 0 {
                    place = self.word(text, place + first as usize / 8, at);
                    continue 'eights;
                }
                let stop = after.trailing_zeros() & !7;
                self.note(
                    WORDS.topics(Mixed::START.with(word).value()),
                    place + stop as usize / 8,
                );
                left &= !0 << stop;
            }
            place += 8;
        }
        self.read = self.read.max(at);
    }

    /// Reads the word that begins at a place before `at`; where it ends.
    fn word(&mut self, text: &Text<'_>, begin: usize, at: usize) -> usize {
        let mut hash = Mixed::START;
        let mut end = begin;
        let mut after_small = 0;
        loop {
            let eight = eight(text, end, at);
            let (small, others) = letters(eight);
            // A capital after a small letter begins a word.
            let capitals = others & !eight;
            let ends = !(small | others) & TOPS | capitals & (small << 8 | after_small);
            let length = ends.trailing_zeros() as usize / 8;
            // Of scripts without spaces any two characters may be a word.
            let mut wide = eight & eight << 1 & eight << 2 & !(eight << 3) & TOPS;
            while wide != 0 {
                let place = end + wide.trailing_zeros() as usize / 8;
                wide &= wide - 1;
                if place < end + length && place + 6 <= at {
                    let two = Mixed::START.with(self::eight(text, place, place + 6));
                    self.note(WORDS.topics(two.value()), place + 6);
                }
            }
            end += length;
            if ends != 0 {
                // Of those eight what stands before.
                let before = (ends & ends.wrapping_neg()) >> 7;
                if length > 0 {
                    hash = hash.with(eight & (before - 1));
                }
                break;
            }
            hash = hash.with(eight);
            after_small = small >> 56;
        }
        self.note(WORDS.topics(hash.value()), end);
        end
    }

    fn note(&mut self, topics: u16, at: usize) {
        if topics == 0 {
            return;
        }
        for (nth, last) in self.last.iter_mut().enumerate() {
            if topics >> nth & 1 == 1 {
                *last = at;
            }
        }
    }

    /// End of the last word about a topic; 0 when there was none.
    pub(super) fn last(&self, topic: Topic) -> usize {
        self.last.get(topic as usize).copied().unwrap_or(0)
    }

    /// Whether a topic was spoken of at most so many bytes before `at`.
    pub(super) fn near(&self, topic: Topic, at: usize, reach: usize) -> bool {
        let last = self.last(topic);
        last != 0 && last + reach >= at
    }
}

/// Whether a word about a topic follows within `reach` bytes, on the same line and before
/// the next number.
pub(super) fn follows(text: &Text<'_>, from: usize, topic: Topic, reach: usize) -> bool {
    let mut at = from;
    while at < from + reach {
        let byte = text.at(at);
        if byte.is_ascii_digit() || matches!(byte, b'\n' | 0) {
            return false;
        }
        let end = text.run(at, LETTER | HIGH, from + reach - at);
        if end > at && WORDS.topics(Mixed::of(text.slice(at, end)).value()) >> topic as u16 & 1 == 1
        {
            return true;
        }
        at = end.max(at + 1);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_is_a_single_letter() {
        let mut words = LISTS.iter().flat_map(|(_, list)| list.split_whitespace());
        assert!(words.all(|word| word.len() > 1));
    }

    #[test]
    fn words_are_read_alike_wherever_they_stand() {
        for word in [
            "ip",
            "phone",
            "creditcard",
            "sozialversicherungsnummer",
            "电话",
            "teléfono",
        ] {
            for before in 0..17 {
                for (begin, end) in [
                    ("", " "),
                    ("x ", "1"),
                    ("7", "-"),
                    ("small", "Next"),
                    ("a1b2", ":"),
                ] {
                    let camel = begin == "small" || end == "Next";
                    let mut word = word.to_owned();
                    if camel && let Some(first) = word.get_mut(..1) {
                        first.make_ascii_uppercase();
                    }
                    let text = format!("{}{begin}{word}{end}", ".".repeat(before));
                    let mut context = Context::default();
                    context.read(&Text::new(text.as_bytes(), 0, true), text.len());
                    let stop = before + begin.len() + word.len();
                    let expected = WORDS.topics(Mixed::of(word.as_bytes()).value());
                    assert_ne!(expected, 0, "{word}");
                    for (nth, last) in context.last.iter().enumerate() {
                        let told = expected >> nth & 1 == 1;
                        assert_eq!(*last, if told { stop } else { 0 }, "{text}");
                    }
                }
            }
        }
    }
}
