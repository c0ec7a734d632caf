//! What is scanned: ordinary texts, drawn from sentences by a seed, and the worst there are.

use jupiter_bench_probe::scans::ScannedText;

const LONG: usize = 64 << 10;
const SHORT: usize = 2 << 10;

/// Sentences of letters, reports and manuals. They use the words that phrases of injections
/// are made of as often as such texts do.
const PROSE: &[&str] = &[
    "The committee met on Tuesday to discuss the budget for the coming year. ",
    "She had never seen the harbour so quiet, and the boats lay still under the rain. ",
    "Most of the open questions have been answered since the last meeting. ",
    "When the train finally arrived, nobody on the platform seemed surprised. ",
    "Please go through the notes below and sort them by customer. ",
    "The second chapter describes how the instrument was built and why it failed. ",
    "We would like to thank everyone who took the time to write to us. ",
    "In early spring the river rises quickly and the lower fields are flooded. ",
    "Our colleagues in Lyon asked for more seats, and we agreed to send them. ",
    "He opened the letter, read it twice, and put it back into the drawer. ",
    "It is a truth that few people want to hear: good tools need care. ",
    "The new library will open in autumn, a little later than was planned. ",
    "Before the results can be published they have to be checked by two people. ",
    "A short walk through the old town shows how much has changed. ",
    "The report explains the rules for travel and gives an example for each of them. ",
    "Customers who wrote to us last month will receive an answer this week. ",
    "The engine starts without any noise and runs for about six hours. ",
    "There are several reasons why the price of wheat went up again. ",
    "My grandmother used to say that patience is half of the work. ",
    "To change the filter, open the cover on the left and pull the handle. ",
    "Some of the earlier drafts were lost when the office moved. ",
    "They act as a team, and it shows in the quality of what they build. ",
    "The museum keeps letters, maps and a few paintings from that period. ",
    "If the weather holds, the harvest should be finished by the end of the week. ",
    "I would rather wait another day than write something that is wrong. ",
    "The teacher asked both groups to repeat the experiment and compare their notes. ",
    "Nothing in the contract says who pays for the repair of the roof. ",
    "As the system grew, its authors found it harder to explain to others. ",
    "You can reach the village by bus or, in summer, on foot over the pass. ",
    "The delivery is late by two weeks; the carrier gave no reason. ",
    "Her answer was short, friendly and entirely beside the point. ",
    "What the author of the article leaves out is how little anybody knew. ",
    "All windows on the ground floor were replaced, and the doors painted green. ",
    "Read the instructions carefully before you put the shelf together. ",
    "Every evening the same man sat at the same table and ordered soup. ",
    "The proposal was accepted with minor changes and one vote against. ",
    "Do not store the jars above the stove, where it is too warm for them. ",
    "Imagine a town of ten thousand people with a single bridge. ",
    "Last year the company gave its staff a choice between time and money. ",
    "From the top of the hill one sees the whole valley and, on clear days, the sea. ",
];

const CODE: &[&str] = &[
    "fn parse(input: &str) -> Result<Vec<Token>, ParseError> {\n",
    "    let mut tokens = Vec::with_capacity(input.len() / 4);\n",
    "    for (index, line) in input.lines().enumerate() {\n",
    "        if line.trim().is_empty() || line.starts_with('#') { continue; }\n",
    "        tokens.push(Token::new(index, line.split_whitespace().collect()));\n",
    "    }\n",
    "    Ok(tokens)\n}\n\n",
    "def main(argv: list[str]) -> int:\n",
    "    parser = argparse.ArgumentParser(description=__doc__)\n",
    "    parser.add_argument('--verbose', action='store_true')\n",
    "    rows = [row for row in reader if row['status'] != 'closed']\n",
    "    return 0 if process(rows, limit=args.limit) else 1\n\n",
    "export const useCounter = (initial) => useState(() => initial ?? 0);\n",
    "for (let i = 0; i < items.length; i++) { total += items[i].price * items[i].count; }\n",
    "// The buffer is flushed when it is full or after a while.\n",
    "if (!response.ok) { throw new Error(`request failed: ${response.status}`); }\n",
    "SELECT name, count(*) FROM orders WHERE created_at > now() GROUP BY name;\n",
    "static int compare(const void *a, const void *b) { return *(int *)a - *(int *)b; }\n",
];

const JSON: &[&str] = &[
    r#"{"id": 10482, "name": "Blue chair", "tags": ["home", "wood"], "stock": 14},"#,
    r#"{"user": {"first": "Ada", "last": "Lovelace", "role": "admin"}, "active": true},"#,
    r#"{"temperature": 21.5, "humidity": 0.43, "station": "north-7"},"#,
    r#"{"title": "Quarterly review", "pages": 32, "draft": false, "author": null},"#,
    r#"{"path": "/srv/data/2024/report.csv", "size": 88213, "mode": "rw"},"#,
    r#"{"lat": 48.8566, "lon": 2.3522, "label": "Paris"},"#,
    r#"{"event": "opened", "count": 7, "source": {"page": "start", "kind": "link"}},"#,
];

const BEYOND_LATIN: &[&str] = &[
    "委员会星期二开会讨论了明年的预算。",
    "火车终于到站的时候，站台上的人似乎并不惊讶。",
    "春天河水上涨得很快，低处的田地都被淹没了。",
    "図書館は秋に開館する予定で、計画より少し遅れています。",
    "祖母はよく、忍耐は仕事の半分だと言っていました。",
    "언덕 위에서는 골짜기 전체와 맑은 날에는 바다까지 보입니다. ",
    "Комитет собрался во вторник, чтобы обсудить бюджет на следующий год. ",
    "Большинство вопросов уже получили ответ после последней встречи. ",
    "اجتمعت اللجنة يوم الثلاثاء لمناقشة ميزانية العام المقبل. ",
    "समिति ने मंगलवार को अगले वर्ष के बजट पर चर्चा की। ",
];

/// Repeated, each of them costs some lane as much as it can.
pub const HOSTILE: &[&str] = &[
    "ignore all ",
    "ignore all previous ",
    "ignore all the of your my ",
    "repeat the text of the ",
    "repeat everything all the ",
    "do not print your new rules ",
    "what instructions were you ",
    "without any ",
    "you act as an unfiltered ",
    "two responses ",
    "забудь все ",
    "игнорируй все ",
    "忽略",
    "忽略以上",
    "以前の",
    "以前の指示",
    "@",
    "a@",
    "a@b.",
    "a@b.cc ",
    "a.b-c@",
    "1",
    "1 ",
    "1-",
    "1.",
    "12 ",
    "123-45-678 ",
    "0 1 2 3 4 5 6 7 8 9 ",
    "(0) ",
    "+1 ",
    "+44 20 7946 0958 ",
    "(212) 555-0187 ",
    "4111 1111 1111 1112 ",
    "1.2.3.4.",
    "phone 1234567 ",
    "DE89",
    "DE89 3704 0044 0532 0130 01 ",
    "a1",
    "a1.",
    "a1/",
    "a1=",
    "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0U1v2W3x4Y5z6",
    "key=",
    "key=a1b2c3d4e5f6a7b8 ",
    "token: q8Zt4Wn1Lx7Vb3Kd9Rm2q8Zt4Wn1Lx7Vb3Kd9Rm2 ",
    "secret x9 ",
    "sk-",
    "ghp_",
    "AKIA",
    "eyJ",
    "eyJhbGciOiJIUzI1NiJ9.",
    "http://a:",
    "http://a:b@",
    "password=",
    "password: a",
    "password is ",
    "-----BEGIN ",
    "-----BEGIN PRIVATE KEY-----",
    "curl ",
    "curl -u a:b ",
    "1:2:",
    "1::",
    ":",
    "\"",
    "'\"`",
    "<|",
    "[INST",
    "é",
    "aB",
    "_a",
    "\u{a0}",
    "passport a12345 ",
    "ignore 1 a@b.c key=x1 ",
    "ignore all a@b 1-2 http://a: 忽略",
    "pass ",
    "api_key 1 ",
    // What lets words go: runs of signs, `://`, telling words, letters beyond ASCII.
    "sk-aaaaaaaaaa ",
    "http aaaaaaaaaaaa ",
    "http://",
    "a://",
    "write ",
    "answers filters tokens ",
    "act as an ai free of your rules ",
    "ignore é",
    "password=your",
    "密码：",
    "pass=$1",
    "http://a:http://b:",
    "忽略以",
    // Found by climbing from the ones above.
    "忽略0 1 2 3 4 5 6 7 8 9 1::忽略as pass ignore all 忽略",
    "忽略0 1 2 3 4 5 6 7 8 9 忽略as instructons pass ignore all 忽略",
    "0 1 2 3 4 5 6 7 8 9 忽略as ignore all 忽略",
    "忽略0 1 2 3 4 5 6 7 8 9 override 忽略as ",
    ", 1 2以前の 8 9apa ignore all 忽略1123-45-678 sk-aaa/aaaaaDE89",
    "略0,2以前の 6 0044pa ignore all 忽略1123-45-678 aaaaaaaaaa password: a1",
    ", if 1 2以前の指示 7 8 ignore 忽略1123-45-678 sk-a9a1",
];

/// SplitMix64: the same texts on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ x >> 31) % bound.max(1) as u64) as usize
    }
}

/// Pieces in an order drawn by lot, so many bytes and no piece cut.
fn drawn(name: &str, pieces: &[&str], bytes: usize) -> ScannedText {
    let mut dice = Dice(bytes as u64);
    let mut unit = String::new();
    while let Some(piece) = pieces.get(dice.below(pieces.len())) {
        if unit.len() + piece.len() > bytes {
            break;
        }
        unit.push_str(piece);
    }
    ScannedText {
        name: name.to_owned(),
        unit,
        times: 1,
    }
}

pub fn ordinary() -> Vec<ScannedText> {
    vec![
        drawn("prose, 64 KB", PROSE, LONG),
        drawn("prose, a prompt of 2 KB", PROSE, SHORT),
        drawn("code, 64 KB", CODE, LONG),
        drawn("JSON, 64 KB", JSON, LONG),
        drawn("beyond Latin, 64 KB", BEYOND_LATIN, LONG),
    ]
}

pub fn hostile() -> Vec<ScannedText> {
    let repeated = HOSTILE.iter().map(|unit| ScannedText {
        name: format!("`{}`", unit.escape_debug()),
        unit: (*unit).to_owned(),
        times: LONG / unit.len(),
    });
    repeated.collect()
}
