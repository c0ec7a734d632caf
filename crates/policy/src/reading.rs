//! What a field is in one exchange.

use crate::decision::{ChosenAnswer, ChosenTexts};
use crate::eval::{Evaluation, ListEntry};
use crate::facts::{Attachment, Message, Part, PartKind, Place};
use crate::program::{
    BoolField, Entry, Field, KindFilter, NumberField, PartFilter, Role, SingleText, TextField,
};

impl<'a> Evaluation<'a> {
    pub fn is_present(&self, field: Field) -> bool {
        match field {
            Field::Text(field) => self.texts(field).next().is_some(),
            Field::Number(field) => self.number(field).is_some(),
            Field::Bool(field) => self.bool(field).is_some(),
            Field::Messages => !self.facts.request.messages.is_empty(),
        }
    }

    /// The texts of a field, none when it is missing.
    pub fn texts(&self, field: TextField) -> Texts<'_> {
        let request = &self.facts.request;
        let analysis = &self.facts.processing.content_analysis;
        let names = |names: &'a [String]| Texts::Contents([].iter(), names.iter());
        match field {
            TextField::Single(single) => Texts::One(self.single_text(single)),
            TextField::MessageRole(index) => Texts::One(self.message(index).map(role)),
            TextField::MessageContent(index) => Texts::One(self.message(index).map(content)),
            TextField::Entry(entry) => Texts::One(self.entry_text(entry)),
            TextField::EveryRole => Texts::Roles(request.messages.iter()),
            TextField::EveryContent => Texts::Contents(request.messages.iter(), [].iter()),
            TextField::EveryText => {
                Texts::Contents(request.messages.iter(), request.other_texts.iter())
            }
            TextField::Tools => names(&request.tools),
            TextField::Stop => names(&request.stop),
            TextField::RoleContent(role) => Texts::Chosen(role, request.messages.iter()),
            TextField::Parts(filter) => self.parts(filter),
            TextField::PiiTypes => names(some(&analysis.pii_detection.pii_types)),
            TextField::SensitiveCategories => names(some(&analysis.sensitive_content.categories)),
            TextField::UserRoles => names(some(&self.facts.context.user_attributes.roles)),
            TextField::ResponseContent => Texts::One(self.facts.response.content.as_deref()),
            TextField::ResponseText => Texts::Answer(
                self.facts.response.content.as_deref(),
                self.facts.response.other_texts.iter(),
            ),
            TextField::AttachmentTypes => Texts::MediaTypes(request.attachments.iter()),
        }
    }

    fn parts(&self, filter: PartFilter) -> Texts<'_> {
        let message = match filter.message {
            None => None,
            // A message that is not there has no parts.
            Some(index) => match self.position(index) {
                Some(position) => Some(position),
                None => return Texts::One(None),
            },
        };
        let parts = self.facts.request.parts.as_deref().unwrap_or_default();
        Texts::Parts(parts.iter(), filter.kind, message)
    }

    fn message(&self, index: i32) -> Option<&'a Message> {
        self.facts.request.messages.get(self.position(index)?)
    }

    pub fn position(&self, index: i32) -> Option<usize> {
        let distance = index.unsigned_abs() as usize;
        match index < 0 {
            true => self.facts.request.messages.len().checked_sub(distance),
            false => Some(distance),
        }
    }

    fn entry_text(&self, entry: Entry) -> Option<&'a str> {
        match (entry, self.entry.get()?) {
            (Entry::Role, ListEntry::Message(_, message)) => Some(role(message)),
            (Entry::Content, ListEntry::Message(_, message)) => Some(content(message)),
            (Entry::Name, ListEntry::Name(name)) => Some(name),
            (Entry::Role | Entry::Content, ListEntry::Name(_))
            | (Entry::Name, ListEntry::Message(..)) => None,
        }
    }

    pub fn single_text(&self, field: SingleText) -> Option<&str> {
        let facts = self.facts;
        let analysis = &facts.processing.content_analysis;
        let user = &facts.context.user_attributes;
        match field {
            SingleText::Model => facts.request.model.as_deref(),
            SingleText::User => facts.request.user.as_deref(),
            SingleText::Environment => facts.context.environment.as_deref(),
            SingleText::ClientIp => facts.context.client_ip.as_deref(),
            SingleText::UserId => facts.context.user_id.as_deref(),
            SingleText::DayOfWeek => Some(self.moment().day_of_week()),
            SingleText::Date => Some(self.date.get_or_init(|| self.moment().date())),
            SingleText::Tier => user.tier.as_deref(),
            SingleText::Department => user.department.as_deref(),
            SingleText::Region => user.region.as_deref(),
            SingleText::SensitiveSeverity => analysis.sensitive_content.severity.as_deref(),
            SingleText::InjectionType => analysis.prompt_injection.kind.as_deref(),
            SingleText::SentimentLabel => analysis.sentiment.label.as_deref(),
            SingleText::ResponseModel => facts.response.model.as_deref(),
            SingleText::FinishReason => facts.response.finish_reason.as_deref(),
        }
    }

    pub fn number(&self, field: NumberField) -> Option<f64> {
        let request = &self.facts.request;
        let processing = &self.facts.processing;
        let user = &self.facts.context.user_attributes;
        match field {
            NumberField::Temperature => request.temperature,
            NumberField::MaxTokens => request.max_tokens,
            NumberField::TopP => request.top_p,
            NumberField::FrequencyPenalty => request.frequency_penalty,
            NumberField::PresencePenalty => request.presence_penalty,
            NumberField::TurnCount => {
                let turns = self.turns.get_or_init(|| {
                    let users = request.messages.iter().filter(|it| it.role == "user");
                    users.count()
                });
                Some(*turns as f64)
            }
            NumberField::Hour => Some(self.moment().hour as f64),
            NumberField::Minute => Some(self.moment().minute as f64),
            NumberField::Day => Some(self.moment().day as f64),
            NumberField::Month => Some(self.moment().month as f64),
            NumberField::Year => Some(self.moment().year as f64),
            NumberField::Timestamp => Some(self.moment().unix_seconds as f64),
            NumberField::EstimatedPromptTokens => processing.token_estimate.prompt_tokens,
            NumberField::EstimatedCompletionTokens => processing.token_estimate.completion_tokens,
            NumberField::EstimatedTotalTokens => processing.token_estimate.total_tokens,
            NumberField::PromptCost => processing.cost_estimate.prompt_cost,
            NumberField::CompletionCost => processing.cost_estimate.completion_cost,
            NumberField::TotalCost => processing.cost_estimate.total_cost,
            NumberField::PiiConfidence => processing.content_analysis.pii_detection.confidence,
            NumberField::InjectionConfidence => {
                processing.content_analysis.prompt_injection.confidence
            }
            NumberField::SentimentScore => processing.content_analysis.sentiment.score,
            NumberField::RiskScore => processing.risk_score,
            NumberField::ComplexityScore => processing.complexity_score,
            NumberField::ContextWindowUsage => processing.conversation_context.context_window_usage,
            NumberField::ContextWindowPercent => {
                processing.conversation_context.context_window_percent
            }
            NumberField::RequestsThisHour => user.requests_this_hour,
            NumberField::RequestsToday => user.requests_today,
            NumberField::DailyTokenUsage => user.daily_token_usage,
            NumberField::MonthlyTokenUsage => user.monthly_token_usage,
            NumberField::DailyCost => user.daily_cost,
            NumberField::MonthlyCost => user.monthly_cost,
            NumberField::UsagePromptTokens => self.facts.response.usage.prompt_tokens,
            NumberField::UsageCompletionTokens => self.facts.response.usage.completion_tokens,
            NumberField::UsageTotalTokens => self.facts.response.usage.total_tokens,
            NumberField::MessageCount => Some(request.messages.len() as f64),
            NumberField::AttachmentCount => Some(request.attachments.len() as f64),
            NumberField::AttachmentBytes => {
                let bytes = request.attachments.iter().filter_map(|it| it.bytes);
                Some(bytes.sum::<u64>() as f64)
            }
            NumberField::Length(field) => self.length(field),
        }
    }

    /// Characters of a text, or of all text together; entries of a list. A list that
    /// nobody provides has no length, one that is empty has length 0.
    fn length(&self, field: TextField) -> Option<f64> {
        let analysis = &self.facts.processing.content_analysis;
        let known = match field {
            TextField::Parts(_) => self.facts.request.parts.is_some(),
            TextField::PiiTypes => analysis.pii_detection.pii_types.is_some(),
            TextField::SensitiveCategories => analysis.sensitive_content.categories.is_some(),
            TextField::UserRoles => self.facts.context.user_attributes.roles.is_some(),
            TextField::EveryText | TextField::ResponseText => {
                let characters = self.texts(field).map(|text| text.chars().count());
                return Some(characters.sum::<usize>() as f64);
            }
            single if single.is_single() => {
                let text = self.texts(single).next()?;
                return Some(text.chars().count() as f64);
            }
            _ => true,
        };
        known.then(|| self.texts(field).count() as f64)
    }

    pub fn bool(&self, field: BoolField) -> Option<bool> {
        let analysis = &self.facts.processing.content_analysis;
        match field {
            BoolField::Stream => self.facts.request.stream,
            BoolField::HasPii => analysis.pii_detection.has_pii,
            BoolField::HasSensitiveContent => analysis.sensitive_content.has_sensitive_content,
            BoolField::HasInjection => analysis.prompt_injection.has_prompt_injection,
            BoolField::Found(detector, field) => {
                let findings = self.facts.processing.findings.as_ref()?;
                let of_detector = findings.iter().filter(|found| found.detector == detector);
                let mut places = of_detector.map(|found| found.place);
                Some(places.any(|place| self.covers(field, place)))
            }
        }
    }

    /// The texts that fields name in this exchange.
    pub fn chosen(&self, fields: &[u32]) -> ChosenTexts {
        let fields = fields
            .iter()
            .filter_map(|it| self.bundle.program.field(*it));
        let fields: Vec<Field> = fields.collect();
        let mut chosen = ChosenTexts::default();
        for field in &fields {
            match *field {
                Field::Text(TextField::EveryText) => chosen.other = true,
                Field::Text(TextField::ResponseContent) => {
                    chosen.answer = chosen.answer.max(ChosenAnswer::Content);
                }
                Field::Text(TextField::ResponseText) => chosen.answer = ChosenAnswer::All,
                _ => {}
            }
        }
        for (message, nth) in self.facts.request.messages.iter().zip(0..) {
            let names = |field: &Field| match *field {
                Field::Messages => true,
                Field::Text(TextField::EveryContent | TextField::EveryText) => true,
                Field::Text(TextField::MessageContent(index)) => {
                    self.position(index) == Some(nth as usize)
                }
                Field::Text(TextField::RoleContent(role)) => message.role == role.as_str(),
                _ => false,
            };
            if fields.iter().any(names) {
                chosen.messages.push(nth);
            }
        }
        chosen
    }

    /// Whether the field reads the text a detector looked at.
    fn covers(&self, field: TextField, place: Place) -> bool {
        let Place::Message(message) = place else {
            return match place {
                Place::Response => {
                    matches!(field, TextField::ResponseContent | TextField::ResponseText)
                }
                Place::ResponseOther => field == TextField::ResponseText,
                Place::Message(_) | Place::Other => field == TextField::EveryText,
            };
        };
        let message = message as usize;
        match field {
            TextField::EveryText | TextField::EveryContent => true,
            TextField::MessageContent(index) => self.position(index) == Some(message),
            TextField::RoleContent(role) => {
                let message = self.facts.request.messages.get(message);
                message.is_some_and(|message| message.role == role.as_str())
            }
            _ => false,
        }
    }
}

fn some(names: &Option<Vec<String>>) -> &[String] {
    names.as_deref().unwrap_or_default()
}

fn role(message: &Message) -> &str {
    &message.role
}

fn content(message: &Message) -> &str {
    &message.content
}

/// The texts of one field, without collecting them.
pub(crate) enum Texts<'a> {
    One(Option<&'a str>),
    Roles(std::slice::Iter<'a, Message>),
    Contents(std::slice::Iter<'a, Message>, std::slice::Iter<'a, String>),
    Chosen(Role, std::slice::Iter<'a, Message>),
    Parts(std::slice::Iter<'a, Part>, KindFilter, Option<usize>),
    Answer(Option<&'a str>, std::slice::Iter<'a, String>),
    MediaTypes(std::slice::Iter<'a, Attachment>),
}

impl<'a> Iterator for Texts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        match self {
            Texts::One(text) => text.take(),
            Texts::Roles(messages) => messages.next().map(role),
            Texts::Contents(messages, others) => {
                let message = messages.next().map(content);
                message.or_else(|| others.next().map(String::as_str))
            }
            Texts::Chosen(role, messages) => {
                let message = messages.find(|message| message.role == role.as_str());
                message.map(content)
            }
            Texts::Parts(parts, kind, message) => {
                let part = parts.find(|part| {
                    message.is_none_or(|wanted| wanted == part.message as usize)
                        && kind.admits(part.kind)
                });
                part.map(|part| part.kind.as_str())
            }
            Texts::Answer(content, others) => {
                let content = content.take();
                content.or_else(|| others.next().map(String::as_str))
            }
            Texts::MediaTypes(attachments) => attachments.find_map(|it| it.media_type.as_deref()),
        }
    }
}

impl KindFilter {
    fn admits(self, kind: PartKind) -> bool {
        match self {
            KindFilter::Any => true,
            KindFilter::Is(wanted) => kind == wanted,
            KindFilter::IsNot(unwanted) => kind != unwanted,
        }
    }
}
