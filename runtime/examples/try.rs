//! Try.
use std::time::Instant;
fn med(mut v: Vec<u128>) -> u128 { v.sort(); v[v.len()/2] }
fn main() {
    let n = 300;
    let c = skep::Command::new("/usr/bin/true");
    let spec = c.spec();
    let (mut g, mut co, mut ve, mut sp, mut wa, mut dr) = (vec![], vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..n {
        let t = Instant::now();
        let f = skep::Facts::gather(&spec).unwrap();
        g.push(t.elapsed().as_micros());
        let t = Instant::now();
        let p = skep::compile(&spec, &f).unwrap();
        co.push(t.elapsed().as_micros());
        let t = Instant::now();
        let _ = skep::verify::verify(p).unwrap();
        ve.push(t.elapsed().as_micros());
        let t = Instant::now();
        let mut c = skep::Command::new("/usr/bin/true").spawn().unwrap();
        sp.push(t.elapsed().as_micros());
        let t = Instant::now();
        c.wait().unwrap();
        wa.push(t.elapsed().as_micros());
        let t = Instant::now();
        drop(c);
        dr.push(t.elapsed().as_micros());
    }
    println!("gather {} compile {} verify {} spawn {} wait {} drop {}", med(g), med(co), med(ve), med(sp), med(wa), med(dr));
}
