//! Jobs of a trace, from CSV text: when each comes, how many GPUs it asks for, how long it runs.

use std::sync::Arc;

use crate::sim::table::{ListError, Row, Table};

/// A job as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its name: one of each in a trace.
    pub name: Arc<str>,
    /// Whose it is.
    pub namespace: Arc<str>,
    /// How many GPUs; at least 1.
    pub gpus: u32,
    /// When it comes, in seconds from the first one on.
    pub arrives_s: u64,
    /// How long it runs, undisturbed.
    pub runs_s: u64,
    /// How long its owner says that it will run.
    pub expected_s: Option<u64>,
    /// How urgent it is; more is more.
    pub priority: i32,
}

/// Jobs by arrival; those of the same second in the order of the list.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The jobs.
    pub jobs: Vec<Job>,
}

impl Trace {
    /// More is no trace of one cluster.
    pub const LINES_MAX: usize = 1_000_000;
    /// GPUs of a job.
    pub const GPUS_MAX: u32 = 4096;

    /// From jobs in any order.
    pub fn new(mut jobs: Vec<Job>) -> Self {
        jobs.sort_by_key(|job| job.arrives_s);
        let first_s = jobs.first().map_or(0, |job| job.arrives_s);
        jobs.iter_mut().for_each(|job| job.arrives_s -= first_s);
        Self { jobs }
    }

    /// Reads `job_id,num_gpu,submit_time,duration` and, if it is there, `priority`, as the Muri simulator has them: times
    /// in thousandths of a second.
    ///
    /// # Errors
    /// The first line that is not of this form.
    pub fn muri(text: &str) -> Result<Self, ListError> {
        let table = Table::open(text, &["job_id", "num_gpu", "submit_time", "duration"], Self::LINES_MAX)?;
        let job = |row: Result<Row<'_>, ListError>| {
            let row = row?;
            let priority = if row.optional("priority").is_some() { row.number("priority", i32::MAX)? } else { 0 };
            Ok(Job {
                name: format!("job-{}", row.text("job_id")?).into(),
                namespace: "muri".into(),
                gpus: gpus(&row, "num_gpu")?,
                arrives_s: row.number("submit_time", MS_MAX)? / 1000,
                runs_s: row.number("duration", MS_MAX)?.div_ceil(1000),
                expected_s: None,
                priority,
            })
        };
        Ok(Self::new(table.rows().map(job).collect::<Result<_, _>>()?))
    }

    /// Reads `timestamp,duration,num_gpus,cluster`, as the Philly trace is spread with AdaptDL: a civil time, seconds, and
    /// the virtual cluster that the job was of.
    ///
    /// # Errors
    /// The first line that is not of this form.
    pub fn philly(text: &str) -> Result<Self, ListError> {
        let table = Table::open(text, &["timestamp", "duration", "num_gpus", "cluster"], Self::LINES_MAX)?;
        let job = |(number, row): (usize, Result<Row<'_>, ListError>)| {
            let row = row?;
            let stamp = row.text("timestamp")?;
            Ok(Job {
                name: format!("job-{number}").into(),
                namespace: format!("vc-{}", row.text("cluster")?).into(),
                gpus: gpus(&row, "num_gpus")?,
                arrives_s: seconds(stamp).ok_or_else(|| row.error(format!("timestamp: `{stamp}` is no time like 2017-10-09 07:01:55")))?,
                runs_s: row.time("duration")?.ok_or_else(|| row.error("duration is empty".into()))?,
                expected_s: None,
                priority: 0,
            })
        };
        Ok(Self::new(table.rows().enumerate().map(job).collect::<Result<_, _>>()?))
    }

    /// How much work there is, in GPU seconds.
    pub fn work_gpu_s(&self) -> u64 {
        self.jobs.iter().map(Job::work_gpu_s).sum()
    }
}

impl Job {
    /// How much work it is, in GPU seconds.
    pub fn work_gpu_s(&self) -> u64 {
        u64::from(self.gpus) * self.runs_s
    }

    /// How it is cut into pods for nodes of so many GPUs: how many pods, and GPUs of each. They are equal; where the
    /// number does not divide, pods are smaller than a node.
    pub fn pods(&self, node_gpus: u32) -> (u32, u32) {
        let mut pods = self.gpus.div_ceil(node_gpus.max(1)).max(1);
        while !self.gpus.is_multiple_of(pods) {
            pods += 1;
        }
        (pods, self.gpus / pods)
    }
}

/// A time in thousandths of a second beyond any trace.
const MS_MAX: u64 = 1 << 50;

fn gpus(row: &Row<'_>, column: &str) -> Result<u32, ListError> {
    match row.number(column, Trace::GPUS_MAX)? {
        0 => Err(row.error(format!("{column}: a job asks for at least one GPU"))),
        gpus => Ok(gpus),
    }
}

/// Seconds since 1970 of `YYYY-MM-DD hh:mm:ss`, all in one time zone.
fn seconds(stamp: &str) -> Option<u64> {
    let (date, time) = stamp.split_once(' ')?;
    let three = |text: &str, mark: char| -> Option<[u64; 3]> {
        let numbers: Vec<u64> = text.split(mark).map(str::parse).collect::<Result<_, _>>().ok()?;
        numbers.try_into().ok()
    };
    let ([year, month, day], [hour, minute, second]) = (three(date, '-')?, three(time, ':')?);
    let known = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    (known && hour < 24 && minute < 60 && second < 61).then_some(())?;
    // Years that begin in March, so that the leap day is the last.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((days - DAYS_TO_1970) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: u64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_lists_are_read_in_the_order_of_arrival() {
        let muri = "job_id,num_gpu,submit_time,iterations,duration,priority\n7,8,5000,1,2500,1\n8,1,2000,1,1000,0\n";
        let trace = Trace::muri(muri).unwrap();
        let read: Vec<_> = trace.jobs.iter().map(|job| (&*job.name, job.gpus, job.arrives_s, job.runs_s, job.priority)).collect();
        assert_eq!(read, [("job-8", 1, 0, 1, 0), ("job-7", 8, 3, 3, 1)]);
        assert_eq!(trace.work_gpu_s(), 25);
        let philly =
            "timestamp,duration,num_gpus,gpu_time,cluster\n2017-10-09 07:01:55,66.0,1,66.0,11cb48\n2017-10-08 07:01:50,5.0,16,80,x\n";
        let trace = Trace::philly(philly).unwrap();
        let read: Vec<_> = trace.jobs.iter().map(|job| (&*job.namespace, job.gpus, job.arrives_s, job.runs_s)).collect();
        assert_eq!(read, [("vc-x", 16, 0, 5), ("vc-11cb48", 1, 86_405, 66)]);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        let muri = |line: &str| Trace::muri(&format!("job_id,num_gpu,submit_time,duration\n{line}\n")).unwrap_err().to_string();
        assert_eq!(muri("1,0,0,1"), "line 2: num_gpu: a job asks for at least one GPU");
        assert_eq!(muri("1,1,-5,1"), "line 2: submit_time: `-5` is not a whole number of at most 1125899906842624");
        let philly = |line: &str| Trace::philly(&format!("timestamp,duration,num_gpus,cluster\n{line}\n")).unwrap_err().to_string();
        assert_eq!(philly("2017-13-09 07:01:55,1,1,a"), "line 2: timestamp: `2017-13-09 07:01:55` is no time like 2017-10-09 07:01:55");
    }

    #[test]
    fn times_of_day_become_seconds() {
        assert_eq!(seconds("1970-01-01 00:00:00"), Some(0));
        assert_eq!(seconds("2016-02-29 23:59:59").map(|at| at + 1), seconds("2016-03-01 00:00:00"));
        assert_eq!(seconds("2026-01-01 00:00:00"), Some(1_767_225_600));
    }

    #[test]
    fn a_job_is_cut_into_equal_pods() {
        let pods =
            |gpus| Job { name: "a".into(), namespace: "b".into(), gpus, arrives_s: 0, runs_s: 1, expected_s: None, priority: 0 }.pods(8);
        assert_eq!([1, 4, 8, 12, 16, 24, 32, 9].map(pods), [(1, 1), (1, 4), (1, 8), (2, 6), (2, 8), (3, 8), (4, 8), (3, 3)]);
    }
}
