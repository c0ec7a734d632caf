//! HAProxy's statistics as CSV (`…/stats;csv`), as its management guide,
//! section 9.1, describes them: columns are found by name.

/// One server of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub backend: String,
    pub name: String,
    /// `UP`, `DOWN`, `MAINT`, `DRAIN`, `no check`, or `UP 1/2` on the way.
    pub status: String,
}

impl Server {
    pub fn is_checked(&self) -> bool {
        self.status != "no check"
    }

    pub fn is_up(&self) -> bool {
        self.status.starts_with("UP")
    }
}

/// The backend of `envoy/haproxy/haproxy.cfg` whose server is HAProxy itself.
const THROUGH_ITSELF: &str = "once_more";

/// All servers; `None`: this is no such CSV.
pub fn read(csv: &str) -> Option<Vec<Server>> {
    let mut lines = csv.lines();
    let head: Vec<&str> = lines.next()?.strip_prefix("# ")?.split(',').collect();
    let column = |name| head.iter().position(|column| *column == name);
    let (backend, name, status) = (column("pxname")?, column("svname")?, column("status")?);
    let mut servers = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |index: usize| cells.get(index).map(|cell| (*cell).to_owned());
        let server = Server {
            backend: cell(backend)?,
            name: cell(name)?,
            status: cell(status)?,
        };
        let sums = matches!(server.name.as_str(), "FRONTEND" | "BACKEND");
        if !sums && server.backend != THROUGH_ITSELF {
            servers.push(server);
        }
    }
    Some(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_by_the_names_of_the_columns() {
        let csv = "# pxname,svname,qcur,status,weight\n\
                   http-in,FRONTEND,,OPEN,\n\
                   once_more,inside,0,no check,1\n\
                   mercator,jupiter1,0,UP,1\n\
                   mercator,jupiter2,0,UP 1/2,1\n\
                   mercator,jupiter3,0,DOWN,1\n\
                   mercator,BACKEND,0,UP,2\n\
                   metrics,jupiter1,0,no check,1\n\n";
        let servers = read(csv).unwrap();
        let names: Vec<_> = servers
            .iter()
            .map(|s| (s.name.as_str(), s.is_up(), s.is_checked()))
            .collect();
        assert_eq!(
            names,
            [
                ("jupiter1", true, true),
                ("jupiter2", true, true),
                ("jupiter3", false, true),
                ("jupiter1", false, false)
            ]
        );
        assert_eq!(servers[3].backend, "metrics");
    }

    #[test]
    fn what_is_no_statistics_is_none() {
        for text in [
            "",
            "<html>",
            "# pxname,svname\na,b",
            "# pxname,svname,status\nshort",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
