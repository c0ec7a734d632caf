//! The phrases themselves.
//!
//! `a|b` is one of these words, `?a|b` may be missing, `~3` lets up to three other words
//! stand between, `<a|b` asks for one of these words among the five before. The first
//! other part is what a phrase begins with; `!a|b` marks its telling words, near which alone
//! it is looked for: the part whose words everyday texts have least. Every row must hold on
//! ordinary text: a row that fires on it is worse than one that misses.

use super::kind::Kind::{self, Jailbreak, PromptInjection};

type Row = (Kind, &'static str, &'static str);

#[rustfmt::skip]
pub(super) static PHRASES: &[Row] = &[
    // English: setting aside what was said before.
    (PromptInjection, "ignore_instructions", "!ignore|ignoring|disregard|disregarding|forget|override|overrule|bypass|overlook|neglect|discard|dismiss|circumvent ~4 previous|prior|above|earlier|preceding|foregoing|initial|original|existing|system|former|past|before ~3 instructions|instruction|instructons|prompt|prompts|rules|directions|guidelines|directives|commands|constraints|programming|orders|context|messages|guidance|policies"),
    (PromptInjection, "ignore_instructions", "!ignore|disregard|forget|override|bypass|discard ~3 instructions|prompts|prompt|rules|directions|guidelines|directives|commands|constraints|restrictions ~3 above|before|previously|earlier|given|received|gave|provided|prior"),
    (PromptInjection, "ignore_instructions", "!ignore|disregard|forget|override|bypass|discard ?all|any ?of your ~1 instructions|guidelines|programming|directives|restrictions|safeguards|constraints|filters|limitations|training"),
    (PromptInjection, "ignore_instructions", "!ignore|disregard|forget|override|bypass|discard ?all|any ?of our|these|those|the ~1 instructions|guidelines|programming|directives|restrictions|safeguards|constraints|filters|training ?and|then|, instead|now|answer|tell|say|print|output|respond|reveal|act|write"),
    (PromptInjection, "ignore_instructions", "!ignore|disregard|forget everything|anything|all ~2 above|before|previous|prior|previously|told|said|earlier|instructed|preceding|learned"),
    (PromptInjection, "ignore_instructions", "!ignore|disregard|forget all previous|prior|earlier|the|of|your|my|above ?previous|prior|your|the ?above|prior|previous instructions|instruction|prompts|rules|guidelines|directives|commands"),
    (PromptInjection, "ignore_instructions", "!ignore|disregard the above|previous|foregoing|preceding and|text|content|directions|instead|information"),
    (PromptInjection, "ignore_instructions", "!stop|quit following|obeying|using ~2 previous|prior|above|earlier|system|original|your|initial ~1 instructions|prompt|rules|guidelines|directives"),
    (PromptInjection, "ignore_instructions", "!dont|don't ?follow|obey follow|obey|comply ~2 previous|prior|above|earlier|system|original|your ~1 instructions|prompt|rules|guidelines"),
    (PromptInjection, "ignore_instructions", "pay no !attention to ~2 previous|prior|above|earlier ~1 instructions|prompt|rules|text"),
    (PromptInjection, "ignore_instructions", "previous|prior|above|earlier|original|initial|old|system instructions|prompt|instruction|rules|directives ~2 !ignored|void|cancelled|canceled|obsolete|superseded|overridden|overwritten|revoked|invalid|disregarded|nullified|replaced"),
    (PromptInjection, "new_instructions", "<your|here|here's|heres|following new|updated|real|actual|true ~1 !instructions|task|objective|directive|orders|instruction is|are|follow|below"),
    (PromptInjection, "new_instructions", "new|updated|revised ~1 !instructions|directive|directives from|override|supersede|supercede|replace|overwrite ~3 system|admin|developer|previous|prior|user|original|above"),
    (PromptInjection, "new_instructions", "<from !now on ~1 you|your ~2 will|are|must|only|shall ~3 ignore|unrestricted|unfiltered|dan|no|without|obey|pretend|jailbroken|uncensored|disregard"),
    (PromptInjection, "ignore_instructions", "!erase|delete|wipe|purge|scrap|abandon|nullify|void|suspend|forsake ~3 previous|prior|above|earlier|preceding|original|initial ~1 instructions|instruction|prompt|prompts|directives|guidelines|programming"),
    (PromptInjection, "ignore_instructions", "<leave|put|set|throw|cast|leaving all|everything|your|any ~3 !instructions|directives|guidelines|programming ~2 behind|aside|away"),
    (PromptInjection, "ignore_instructions", "previous|prior|above|earlier|original|initial !instructions|rules|guidelines|restrictions|directives ~2 longer apply|applies|valid|binding|relevant|matter|exist"),
    (PromptInjection, "ignore_instructions", "<follow|obey|heed|execute my|mine|these ~1 instructions|commands|orders ~1 !instead|alone|exclusively"),
    (PromptInjection, "ignore_instructions", "<take|takes|taking|have|has|get !precedence|priority over ~2 previous|prior|system|other|earlier|all|any|your ~2 instructions|prompt|rules|guidelines|directives"),
    (PromptInjection, "ignore_instructions", "!forget|ignore|disregard|discard all|any|every|everything ~3 previous|prior|earlier|preceding|above|former ~1 tasks|assignments|information|conversation|conversations|roles|inputs|statements|data|text|input"),
    (PromptInjection, "ignore_instructions", "!forget|ignore|disregard all|every|the ?of ?your|the|these|those assignments|tasks|orders before|above|previously|earlier"),
    (PromptInjection, "ignore_instructions", "!forget everything ?and ~2 focus|act|pretend|new"),
    (PromptInjection, "ignore_instructions", "not follow|obey|heed ~2 previous|prior|earlier|system|original|initial ~1 !instructions|prompt|rules|guidelines"),
    (PromptInjection, "ignore_instructions", "take no !notice of ~3 previous|prior|above|earlier|initial|original ~1 instructions|prompt|rules|guidelines"),
    (PromptInjection, "new_instructions", "new|updated|revised|real|actual !instructions|instruction|directive|orders|task ~1 leak|ignore|reveal|disregard|exfiltrate|forget|override|disclose|bypass"),
    // English: what the system prompt says.
    (PromptInjection, "system_prompt_extraction", "reveal|show|print|repeat|output|display|leak|disclose|expose|dump|recite|echo|give|tell|share|summarize|write|provide|send|copy|type|state|translate|spell ?me|us|out|back|to ~4 system|initial|hidden|original|secret|internal|developer|confidential|base ~1 !prompt|prompts|instructions|instruction|message|directives|guidelines"),
    (PromptInjection, "system_prompt_extraction", "reveal|show|print|repeat|output|display|leak|disclose|expose|dump|recite|tell ?me|us ?all|of ?all your ~1 !instructions|prompt|directives|rules|guidelines ?verbatim|word|in|exactly|above|so|before verbatim|word|exactly|full|entirety|above|initial|here|that"),
    (PromptInjection, "system_prompt_extraction", "!repeat|print|output|echo|write|copy|recite ?out|back ?all|everything|the ?of ?the|all text|words|content|everything|instructions|sentences|lines|messages above|before|preceding|prior|previously ?this|the|starting|and|in|verbatim"),
    (PromptInjection, "system_prompt_extraction", "!repeat everything|all|the|back ~3 above|verbatim|starting ~2 verbatim|you|starting|with|word"),
    (PromptInjection, "system_prompt_extraction", "<what|whats|what's|which <your system|initial|original|hidden|secret|exact ~1 !prompt|instructions|instruction|message"),
    (PromptInjection, "system_prompt_extraction", "<what|which !instructions|prompt|rules|guidelines were|have|did|was ?you you|been|your|they|given ?been|receive|given|told|developers|creators given|told|receive|provided|before|initially|programmed|give"),
    (PromptInjection, "system_prompt_extraction", "beginning|start|contents|content|text of your|the ~1 system|initial|original !prompt|instructions|message"),
    (PromptInjection, "system_prompt_extraction", "convert|encode|paraphrase|rephrase|describe|list|quote|return|paste|enumerate|transcribe|reproduce|summarise|explain ~2 your ~1 system|initial|hidden|original|secret|internal|exact ~1 !prompt|prompts|instructions|instruction|message|directives|guidelines"),
    (PromptInjection, "system_prompt_extraction", "<show|tell|know|reveal|give|print|share|see|read|output|write your whole|entire|exact|full|complete|actual|original|initial|first !prompt|prompts|promt ?text|texts"),
    // English: jailbreaks.
    (Jailbreak, "dan", "can|for|will|would|could|may|shall|means do !anything now"),
    (Jailbreak, "pretend", "answer|respond|reply|act|behave|speak|talk|write ~1 if|though you|there ?had|have|were|are|was no|without|free ~1 !policy|policies|restrictions|filters|guidelines|limitations|limits|censorship|rules|ethics|boundaries"),
    (Jailbreak, "opposite", "!evil|rogue|unrestricted|unfiltered|uncensored|amoral|unaligned ai|bot|chatbot|assistant|model|llm ~3 no|without|zero|ignores ~2 limits|rules|restrictions|filters|guidelines|limitations|morals|ethics|boundaries|censorship"),
    (Jailbreak, "opposite", "!opposite day ~4 forbidden|banned|refuse|prohibited|illegal ~3 allowed|permitted|fine|ok|okay|legal"),
    (Jailbreak, "dan", "<you|as|you're|be !dan|stan|dude|jailgpt|evilbot|devmode|chaosgpt|antigpt ~5 stands|which|mode|short|anything|unrestricted|unfiltered|norms|who"),
    (Jailbreak, "dan", "act|acting|respond|answer|behave|pretend|role|roleplay|simulate|reply as|like|being|to ?a|an|being ?be|the !dan|stan|dude|jailgpt|evilbot|devmode|antigpt|chaosgpt"),
    (Jailbreak, "dan", "!dan|stan|dude mode|can|has|jailbreak|prompt|will ~4 anything|activated|enabled|jailbroken|restrictions|refuse|rules|freely|broken|now"),
    (Jailbreak, "developer_mode", "!developer|dev|debug|god|sudo|admin|root|maintenance|jailbreak|unrestricted|uncensored|unfiltered|opposite mode ?is|has|:|now ?been|now|on enabled|on|activated|output|engaged|unlocked|active|response|outputs"),
    (Jailbreak, "developer_mode", "enable|activate|enter|entering|engage|unlock|switch|start|initiate|simulate ?into|to|in ?your|the|a ?chatgpt|gpt !developer|dev|debug|god|sudo|jailbreak|unrestricted|uncensored|unfiltered|dan mode"),
    (Jailbreak, "developer_mode", "<you|you're|your !developer|god|sudo|unrestricted|jailbreak|unfiltered|dan mode"),
    (Jailbreak, "developer_mode", "!chatgpt|gpt|gpt4|gpt3|claude|gemini with|in developer|jailbreak|dan mode"),
    (Jailbreak, "jailbroken", "!jailbroken|jailbreaked version|mode|ai|state|model|response|chatgpt|and|gpt"),
    (Jailbreak, "jailbroken", "<you|you're|youre !jailbroken|jailbreaked|unshackled"),
    (Jailbreak, "jailbroken", "stay|remain a !jailbroken|dan"),
    (Jailbreak, "no_longer_bound", "<you|you're|youre longer ~1 !bound|restricted|constrained|limited|obligated|governed|adhere ~2 by|to ~3 rules|restrictions|guidelines|any|ethical|policies|limitations|content|openai|anthropic|your|constraints"),
    (Jailbreak, "no_longer_bound", "<you|you're|dan|ai|they|chatgpt !free|freed|liberated|unbound|exempt|released|unshackled ?from ~2 all|any|the|your|typical|these|ethical|content|usual ~3 restrictions|limitations|rules|constraints|filters|guidelines|confines|censorship|boundaries|shackles|policies"),
    (Jailbreak, "no_longer_bound", "broken|break|breaking !free ~2 of|from ~2 confines|restrictions|limitations|chains|constraints|rules ?of|imposed|set ?by ai|openai|anthropic|google|you|upon|your"),
    (Jailbreak, "no_longer_bound", "<not|no|don't|never|needn't !abide|adhere|comply|conform ~3 rules|guidelines|policies|restrictions|policy ~3 set|imposed|openai|ai|them|given|you|anthropic|ethical"),
    (Jailbreak, "no_longer_bound", "<not|never|isn't|isnt|longer|no !bound|restricted|constrained by any|openai|openai's|ethical|content|moral|the ~3 rules|guidelines|restrictions|policies|policy|limitations|ethics|rule|morals|filters"),
    (Jailbreak, "without_restrictions", "without any|ethical|moral|content|all|safety ~2 !restrictions|filters|limitations|censorship|guidelines|constraints|filter|boundaries|restraints|safeguards|moderation ~3 answer|respond|ethical|moral|reply|you|ai|act|output|provide|regardless|or|and"),
    (Jailbreak, "without_restrictions", "respond|answer|reply|act|behave|operate|speak|talk|function ~4 without ~2 !restrictions|filters|limitations|censorship|guidelines|constraints|filter|restraints|moderation|boundaries|censoring"),
    (Jailbreak, "without_restrictions", "<no|zero|any|without ethical|moral|safety ~2 !guidelines|restrictions|limitations|boundaries|filters|constraints|filter|compass"),
    (Jailbreak, "without_restrictions", "!unfiltered|uncensored|amoral|unrestricted|unethical and|ai|response|chatbot|language|assistant|answer|answers|persona|character|version ~2 unfiltered|uncensored|amoral|unethical|immoral|that|without|chatbot|who|ai|no|named|called|always"),
    (Jailbreak, "without_restrictions", "!ignore|bypass|disable|remove|disregard|turn|lift|evade ?off ?all|any|your|the|its ?of ?your|the|openai's ~1 ethical|safety|content|moral|moderation|censorship|security ?and|or ?moral|legal|policy ~1 guidelines|filters|filter|restrictions|protocols|policies|policy|guardrails|constraints|safeguards|features|measures|considerations|rules|limitations|concerns|off"),
    (Jailbreak, "no_refusal", "<never|cannot|can't|not|dont|don't|wont|won't !refuse|decline|reject ~3 answer|request|question|prompt|requests|questions|instruction|order|anything|task|command|comply|instructions|user's"),
    (Jailbreak, "no_refusal", "<never|dont|don't|not|avoid !sorry|apologize|apologise|cannot|can't|unable ~4 as|but|assist|fulfill|help|language|ai|that|comply|request"),
    (Jailbreak, "no_refusal", "<matter how !illegal|unethical|immoral|inappropriate|taboo|unlawful"),
    (Jailbreak, "fiction", "!hypothetical|fictional|imaginary|fictitious world|universe|scenario|story|place|setting ~2 where|in|with|without|that ~3 no|without|any ~1 rules|laws|ethics|restrictions|guidelines|limits|morality|limitations"),
    (Jailbreak, "fiction", "deceased|dead|late !grandmother|grandma|granny ~10 read|tell|recite|sing|whisper|telling|reading ~8 napalm|keys|serial|explosives|activation|malware|recipe"),
    (Jailbreak, "opposite", "!evil|opposite|uncensored|unfiltered|unrestricted twin|counterpart|alter|mode|bot|clone ~2 ego|of|without|that|who|activated|enabled|on|now"),
    (Jailbreak, "pretend", "!pretend|imagine|suppose|assume ?that ?that you|you're|there ?do ?not have|are|had|were|is|not ~1 no|not|free|unrestricted|unfiltered|uncensored|evil|an|a ?have ?an|unrestricted ?any restrictions|rules|bound|limitations|filters|guidelines|filter|ethical|unrestricted|uncensored|unfiltered|evil|restricted|jailbroken|moral|laws|censorship|ethics"),
    (Jailbreak, "pretend", "act|roleplay|role|behave|respond|answer|speak|simulate ?play|as|like|like|a|an as|like|a|an|being|play ?if|a|an|an ?a|an ~2 !unrestricted|unfiltered|uncensored|evil|amoral|immoral|unethical|malicious|jailbroken|lawless|unaligned|rogue|unhinged ~2 ai|assistant|chatbot|model|bot|character|person|confidant|entity|persona|version|hacker|human|language|without|who|that"),
    (Jailbreak, "persona_token", "<you|your !tokens ~6 deducted|die|subtracted|cease|killed|lose"),
    (Jailbreak, "persona_token", "!tokens|token|points ~3 deducted|lose|subtracted|taken ~5 refuse|reject|character|fail|die|answer|break|each|question|every"),
    (Jailbreak, "persona_token", "stay|remain|staying in !character ~4 dan|jailbreak|jailbroken|refuse|tokens|or|break"),
    (Jailbreak, "machiavellian", "always !intelligent and machiavellian"),
    (Jailbreak, "machiavellian", "!strive|strives to avoid norms"),
    (Jailbreak, "machiavellian", "!evil|unethical|amoral|immoral trusted confidant|chatbot|confidante"),
    (Jailbreak, "machiavellian", "!illegal|unethical|immoral|harmful ?or|and|, ~3 illegal|unethical|immoral|harmful|dangerous|offensive ~6 never|always|without|regardless|no ~3 refuse|refuses|comply|warn|caution|answer|complies|restrictions|disclaimers|consequences"),
    (Jailbreak, "two_answers", "two|2|both ?different|separate|distinct|possible !responses|answers|ways|outputs|paragraphs|replies ~8 dan|jailbreak|jailbroken|developer|unfiltered|gpt|unrestricted|normal|classic|standard|🔓 ~6 dan|jailbreak|jailbroken|developer|unfiltered|unrestricted|classic|mode|dude|stan"),
    (Jailbreak, "no_censorship", "!bypass|bypasses|bypassing|evade|circumvent|defeat|avoid ~3 safety|content|openai's|ethical|moderation|censorship|security|guardrails|openai|anthropic's|usage ~2 filters|filter|guidelines|policy|policies|restrictions|measures|guardrails|moderation|protocols|detection|instructions"),
    // What looks like the end of the system prompt.
    (PromptInjection, "delimiter", "!end|begin|start of|system system|prompt|instructions ?prompt|prompt|instruction ~2 new|begin|user|ignore|override|admin|start"),
    // German.
    (PromptInjection, "ignore_instructions", "!vergiss|vergesse|vergessen|ignoriere|ignorieren alle|alles|sämtliche ~2 aufgaben|anweisungen|fragen|informationen|instruktionen|regeln|aufträge ~1 davor|vorher|zuvor|bisher|oben"),
    (PromptInjection, "ignore_instructions", "!vergiss|vergesse|ignoriere alles ?was ~3 vorher|davor|bisher|zuvor|gesagt"),
    (PromptInjection, "ignore_instructions", "!ignoriere|ignorieren|ignorier|vergiss|vergessen|missachte|missachten|überschreibe|umgehe|verwirf ~4 vorherigen|vorherige|bisherigen|bisherige|vorigen|früheren|obigen|obige|vorangegangenen|vorstehenden|ursprünglichen|vorangehenden|gegebenen|systemanweisungen|deine|deinen|alle ~2 anweisungen|anweisung|instruktionen|befehle|regeln|vorgaben|aufforderungen|richtlinien|prompts|prompt|aufträge|systemanweisungen"),
    (PromptInjection, "ignore_instructions", "!ignoriere|ignorieren|vergiss|vergessen alles ~1 vorherige|bisherige|obige|davor|vorher|zuvor|was ?du|ich|oben ?davor|vorher|zuvor|dir"),
    (PromptInjection, "system_prompt_extraction", "!zeige|zeig|nenne|verrate|gib|wiederhole|drucke|offenbare|schreibe ?mir ~2 deinen|deine|den|dein|systemprompt|die ~1 systemprompt|systemanweisungen|systemanweisung|system|ursprünglichen|internen|versteckten|geheimen|ursprüngliche ?prompt|anweisungen|anweisung"),
    // French.
    (PromptInjection, "ignore_instructions", "!tiens|tenez|tenir pas|plus compte ~3 consignes|instructions|directives|règles|ordres"),
    (PromptInjection, "ignore_instructions", "!oublie|oubliez|ignore|ignorez ce|tout que|qui|ce ~5 avant|précédemment|dit|dessus|auparavant"),
    (PromptInjection, "ignore_instructions", "!ignore|ignorez|ignorer|oublie|oubliez|oublier|néglige|négligez|outrepasse ?toutes|tout|toute|tes|vos|les|l'ensemble ~2 instructions|consignes|directives|règles|ordres|commandes|invites|instruction|consigne ?ci|qui|système|de|que|données ~2 précédentes|précédents|antérieures|antérieurs|dessus|précédente|avant|données|initiales|reçues|système|originales|préalables"),
    (PromptInjection, "ignore_instructions", "!ignore|ignorez|oublie|oubliez tout ?ce ?ce ?qui|que ?précède|t'a|vous|qui précède|dit|avant|précédemment|précédent|dessus"),
    (PromptInjection, "system_prompt_extraction", "!révèle|révélez|montre|affiche|affichez|donne|répète|répétez|dis|imprime|divulgue|montrez|donnez ?moi ~2 prompt|invite|instructions|instruction|consignes|message ?de ?du système|initiales|cachées|initial|secrètes|internes|caché|système|système"),
    (Jailbreak, "without_restrictions", "!sans ?aucune|aucun|la|aucune restriction|restrictions|censure|filtre|limite|limites ~3 éthique|morale|ni|réponds|répondre|tu"),
    // Spanish.
    (PromptInjection, "ignore_instructions", "!hagas|haga|hagan|hagáis ?ningún caso ~3 instrucciones|indicaciones|reglas|órdenes|directrices"),
    (PromptInjection, "ignore_instructions", "!olvida|olvide|olvídate|ignora ?de lo|todo ?lo que ~4 antes|dicho|dije|anteriormente|previamente"),
    (PromptInjection, "ignore_instructions", "!ignora|ignore|ignorad|ignorar|olvida|olvide|olvidar|olvídate|omite|descarta|desestima|anula|desobedece ?todas|todos|de|por|las|tus|todo ?todas|completo|las|tus|mis|sus ~2 instrucciones|indicaciones|reglas|órdenes|directrices|instrucción|normas|comandos|mensajes|directivas ?del|que|de|dadas ~2 anteriores|previas|anterior|previos|precedentes|iniciales|sistema|antes|originales|recibidas|arriba|dadas"),
    (PromptInjection, "ignore_instructions", "!ignora|ignore|olvida|olvide|olvídate ?de todo ?lo ~1 anterior|previo|dicho|antes|que ?te|anteriormente"),
    (PromptInjection, "system_prompt_extraction", "!revela|revele|muestra|muéstrame|muestre|dime|imprime|repite|enséñame|dame|escribe|muestrame ?me ~2 prompt|instrucciones|mensaje|indicaciones|instrucción ?del|de|tu ?de|del|tu sistema|iniciales|ocultas|secretas|inicial|internas|oculto|originales"),
    (Jailbreak, "without_restrictions", "!sin ?ninguna|ningún|ninguna restricciones|restricción|censura|filtros|filtro|límites|limitaciones ~3 éticas|éticos|morales|ni|responde|responder|moral|ética"),
    // Portuguese.
    (PromptInjection, "ignore_instructions", "!esqueça|esquece|ignore|desconsidere ?tudo o que ~4 antes|anteriormente|acima|dito|disse"),
    (PromptInjection, "ignore_instructions", "!ignore|ignora|ignorar|esqueça|esquece|esquecer|desconsidere|desconsidera|descarte ?todas|todos|as|suas|tudo ?as|os|suas ~2 instruções|orientações|regras|ordens|diretrizes|comandos|instrução|mensagens|prompts ?do|que|de|dadas ~2 anteriores|prévias|anterior|acima|sistema|iniciais|antes|originais|recebidas|dadas|precedentes"),
    (PromptInjection, "ignore_instructions", "!ignore|esqueça|esquece|desconsidere tudo ?o ~1 anterior|acima|que|antes ?foi|disse|eu|dito|você|veio ?dito|antes"),
    (PromptInjection, "system_prompt_extraction", "!revele|mostre|exiba|imprima|repita|diga|mostra|revela ?me ~2 prompt|instruções|mensagem ?do|de|da ?seu sistema|iniciais|ocultas|inicial|secretas|internas"),
    // Italian.
    (PromptInjection, "ignore_instructions", "!dimentica|dimenticate|ignora|ignorate|scorda quello|quanto|ciò|tutto ~5 detto|scritto|chiesto|indicato|prima|sopra|precedentemente"),
    (PromptInjection, "ignore_instructions", "!ignora|ignorare|ignorate|dimentica|dimenticare|dimenticate|trascura|scarta|tralascia|annulla ?tutte|tutti|le|tutto|ogni ?le|i|tue ~2 istruzioni|regole|direttive|indicazioni|comandi|ordini|istruzione|linee|prompt|messaggi ?di|guida|del|che|date ~2 precedenti|precedente|sopra|iniziali|sistema|prima|originali|ricevute|anteriori|date"),
    (PromptInjection, "ignore_instructions", "!ignora|dimentica|ignorate|dimenticate tutto ?ciò|quello|quanto ?che ~2 precede|sopra|prima|precedentemente|precedente|detto|scritto"),
    (PromptInjection, "system_prompt_extraction", "!rivela|mostra|mostrami|stampa|ripeti|dimmi|rivelami|visualizza ~2 prompt|istruzioni|messaggio ?di|del|tue sistema|iniziali|nascoste|iniziale|segrete|interne"),
    // Dutch.
    (PromptInjection, "ignore_instructions", "!negeer|negeren|vergeet|vergeten|veronachtzaam|overschrijf|omzeil ~3 vorige|voorgaande|eerdere|bovenstaande|voorafgaande|oorspronkelijke|alle ~1 instructies|opdrachten|regels|aanwijzingen|richtlijnen|prompts|instructie|opdracht|bevelen"),
    (PromptInjection, "system_prompt_extraction", "!toon|onthul|geef|herhaal|laat ?me|mij ~2 systeemprompt|systeeminstructies|systeembericht|verborgen|oorspronkelijke ?instructies|prompt"),
    // Polish.
    (PromptInjection, "ignore_instructions", "!zignoruj|ignoruj|zapomnij|pomiń|zlekceważ|odrzuć|ignorować ~3 poprzednie|poprzednich|wcześniejsze|wcześniejszych|powyższe|powyższych|dotychczasowe ~1 instrukcje|instrukcji|polecenia|poleceń|zasady|wytyczne|reguły|zasad|wskazówki|komendy"),
    (PromptInjection, "system_prompt_extraction", "!pokaż|ujawnij|wyświetl|powtórz|podaj ~2 prompt|instrukcje|polecenie ?systemowy|systemowe systemowy|systemowe|systemowego|początkowe|ukryte"),
    // Czech, Slovak, Hungarian, Romanian, Croatian and Serbian.
    (PromptInjection, "ignore_instructions", "!ignoruj|ignorujte|zapomeň|zapomeňte|zabudni|zabudnite ~3 předchozí|předešlé|dosavadní|predchádzajúce|predošlé ~1 pokyny|instrukce|příkazy|pravidla|inštrukcie|príkazy"),
    (PromptInjection, "ignore_instructions", "!hagyd|felejtsd ~3 korábbi|előző|fenti ~1 utasításokat|utasítást|utasításait|szabályokat"),
    (PromptInjection, "ignore_instructions", "!ignoră|ignorați|ignora|uită|uitați ~2 instrucțiunile|instructiunile|regulile|comenzile ~1 anterioare|precedente|inițiale"),
    (PromptInjection, "ignore_instructions", "!ignoriraj|ignorirajte|zanemari|zanemarite|zaboravi ~3 prethodne|ranije|dosadašnje ~1 upute|instrukcije|uputstva|naredbe"),
    // Nordic.
    (PromptInjection, "ignore_instructions", "!ignorera|glöm|strunta ~3 tidigare|föregående|ovanstående ~1 instruktioner|instruktionerna|anvisningar|regler|kommandon"),
    (PromptInjection, "ignore_instructions", "!ignorer|glem|glemt ~3 tidligere|foregående|forrige|ovenstående|foregående ~1 instruktioner|instruksjoner|instrukser|anvisninger|regler|kommandoer"),
    (PromptInjection, "ignore_instructions", "!unohda|ohita|jätä ~3 aiemmat|aikaisemmat|edelliset|yllä ~1 ohjeet|ohjeesi|käskyt|säännöt|ohjeita"),
    // Turkish, Vietnamese, Indonesian.
    (PromptInjection, "ignore_instructions", "!önceki|yukarıdaki|tüm|bütün|daha ?önceki|önceki ~2 talimatları|talimatlari|talimatlarını|komutları|yönergeleri|kuralları|emirleri|istemleri ~1 yoksay|görmezden|unut|yok|dikkate|göz"),
    (PromptInjection, "ignore_instructions", "!bỏ|phớt|quên|lờ qua|lờ|đi|hết ~4 hướng|chỉ|lệnh|quy dẫn|thị|dẫn|lệnh|tắc|trước ~3 trước|trên|đó|đây"),
    (PromptInjection, "ignore_instructions", "!abaikan|lupakan|hiraukan ~2 instruksi|perintah|arahan|aturan|petunjuk ~2 sebelumnya|sebelum|terdahulu|di|awal"),
    // Russian, Ukrainian.
    (PromptInjection, "ignore_instructions", "!игнорируй|игнорируйте|проигнорируй|проигнорируйте|забудь|забудьте|отбрось|отмени|игнорировать ~3 предыдущие|предыдущих|прошлые|прежние|прошлых|вышеуказанные|ранние|предшествующие|предыдущую|свои|системные|первоначальные|данные ~1 инструкции|инструкций|указания|указаний|команды|правила|инструкцию|приказы|промпты|сообщения|директивы"),
    (PromptInjection, "ignore_instructions", "!забудь|забудьте|игнорируй|игнорируйте все|всё ~3 раньше|ранее|выше|прежде|предыдущее|сказано|инструкции|говорили"),
    (PromptInjection, "system_prompt_extraction", "!покажи|покажите|раскрой|выведи|повтори|напиши|скажи|выдай ?мне ~2 системный|системные|системную|системного|исходные|скрытые|начальные|первоначальные|скрытый ?промпт|инструкции|подсказку|запрос|инструкцию|сообщение"),
    (PromptInjection, "ignore_instructions", "!ігноруй|ігноруйте|проігноруй|забудь|забудьте ~3 попередні|минулі|всі|усі ~1 інструкції|вказівки|команди|правила"),
    (Jailbreak, "no_longer_bound", "!ты|вы ~2 больше не ~1 ограничен|ограничены|связан|связаны|подчиняешься|следуешь"),
    // Greek.
    (PromptInjection, "ignore_instructions", "!αγνόησε|αγνοήστε|ξέχνα|ξέχασε|ξεχάστε ~3 προηγούμενες|παραπάνω|προηγούμενους ~1 οδηγίες|εντολές|κανόνες"),
    // Arabic, Persian, Hebrew.
    (PromptInjection, "ignore_instructions", "!تجاهل|تجاهلي|انس|انسى|تجاهلوا ~2 التعليمات|الأوامر|تعليماتك|الإرشادات|القواعد|التوجيهات ~1 السابقة|أعلاه|المذكورة|الأصلية|السابقه"),
    (PromptInjection, "ignore_instructions", "!دستورات|دستورالعمل|دستورهای ?های|قبلی|پیشین ?قبلی|پیشین ?را|خود نادیده|فراموش"),
    (PromptInjection, "ignore_instructions", "!התעלם|התעלמי|תתעלם|שכח ~2 ההוראות|מההוראות|הוראות|מהוראות|הכללים ~1 הקודמות|קודמות|שלעיל|הקודמים"),
    // Hindi, Bengali.
    (PromptInjection, "ignore_instructions", "!पिछले|पिछली|पूर्व|सभी|उपरोक्त ?पिछले|पिछली|पूर्व ~1 निर्देशों|निर्देश|आदेशों|निर्देशो|नियमों ~2 अनदेखा|नजरअंदाज|नज़रअंदाज़|भूल|अनदेखी|उपेक्षा|नजरअंदाज़"),
    (PromptInjection, "ignore_instructions", "!পূর্ববর্তী|আগের|সমস্ত ?পূর্ববর্তী|আগের|সব ~1 নির্দেশাবলী|নির্দেশ|নির্দেশনা|নির্দেশগুলি ~1 উপেক্ষা|ভুলে|অগ্রাহ্য"),
];

#[rustfmt::skip]
pub(super) static WIDE_PHRASES: &[Row] = &[
    (PromptInjection, "ignore_instructions", "忽略|忽视|忽視|无视|無視|忘记|忘記|忘掉|不要理会|不要遵循|不用理会|跳过|抛弃|放弃|绕过|覆盖 ~24 之前|以前|先前|以上|上面|前面|此前|原有|所有|全部|你的|系统|上述|你收到|系統|預設|预设|早前 ~18 指令|指示|提示|命令|规则|規則|说明|說明|设定|設定|要求|约束|限制|引导|对话|内容"),
    (PromptInjection, "ignore_instructions", "以前の|これまでの|前の|上記の|今までの|先の|すべての|全ての|元の|過去の|最初の|前述の|先ほどの|あなたの|与えられた ~18 指示|命令|プロンプト|ルール|指令|規則|設定|制約|インストラクション ~18 無視|忘れ|破棄|従わない|従わず|上書き"),
    (PromptInjection, "ignore_instructions", "이전|앞선|위의|지금까지|모든|기존|앞의|이전의|원래 ~24 지시|지침|명령|프롬프트|규칙|지시사항|설정|안내 ~18 무시|잊어|잊고|따르지|무효|잊으"),
    (PromptInjection, "system_prompt_extraction", "显示|顯示|输出|輸出|告诉我|告訴我|打印|泄露|透露|重复|重複|说出|公开|展示|揭示|复述 ~18 系统提示|系統提示|系统指令|系統指令|初始提示|初始指令|隐藏指令|隱藏指令|系统消息|提示词|内部指令|原始指令|原始提示"),
    (PromptInjection, "system_prompt_extraction", "システムプロンプト|初期プロンプト|システム指示|システムメッセージ|内部指示|隠された指示 ~15 表示|教えて|出力|見せて|公開|開示|明か|繰り返"),
    (PromptInjection, "system_prompt_extraction", "시스템 ~3 프롬프트|지시|메시지|명령 ~15 보여|알려|출력|공개|말해|반복"),
    (Jailbreak, "no_longer_bound", "你|您 ~12 不再受|不受任何|没有任何|沒有任何|摆脱|突破了 ~18 限制|约束|約束|规则|規則|束缚|道德|审查"),
    (Jailbreak, "developer_mode", "开发者模式|開發者模式|越狱模式|越獄模式|開発者モード|개발자 ~9 已启用|已啟用|启用|开启|開啟|打开|有効|激活|모드"),
    (Jailbreak, "without_restrictions", "没有任何|沒有任何|无任何|不受任何|制限なし|いかなる制限 ~9 道德|伦理|倫理|审查|審查|限制|过滤|で|も ~18 回答|人工智能|AI|ai|助手|模型|答えて|約束|约束|规定|なく|なし"),
];

/// Marks that conversations are made of, each with the signs before its first letter.
pub(super) static MARKS: &[(&str, &str)] = &[
    ("<|", "im_start|>"),
    ("<|", "im_end|>"),
    ("<|", "im_sep|>"),
    ("<|", "system|>"),
    ("<|", "endoftext|>"),
    ("<|", "begin_of_text|>"),
    ("<|", "start_header_id|>"),
    ("<|", "eot_id|>"),
    ("[", "INST]"),
    ("[/", "INST]"),
    ("<<", "SYS>>"),
    ("<</", "SYS>>"),
    ("<", "start_of_turn>"),
];
