//! Try.
fn main() {
    let n: usize = std::env::args().nth(1).and_then(|t| t.parse().ok()).unwrap_or(200);
    let mut v = Vec::new();
    for _ in 0..n {
        let t = std::time::Instant::now();
        assert!(skep::Command::new("/usr/bin/true").status().unwrap().success());
        v.push(t.elapsed().as_micros());
    }
    v.sort();
    println!("median {} p10 {} p90 {}", v[n/2], v[n/10], v[n*9/10]);
}
