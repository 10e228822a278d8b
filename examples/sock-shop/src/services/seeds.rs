//! What is in the databases when the shop opens.

use serde_json::{Value, json};

use super::{catalogue::COLUMNS, user::hashed};
use crate::wire::rows::Table;

/// The socks: id, name, description, price, stock, tags. Pictures are drawn from the id's words.
const SOCKS: &[(&str, &str, &str, &str, &str, &str)] = &[
    (
        "argyle-moss",
        "Moss Argyle",
        "Diamonds for people who own a library card and use it. Warm to about three chapters.",
        "16.50",
        "115",
        "green,formal",
    ),
    (
        "chevron-ember",
        "Ember Chevron",
        "Zigzags that point both ways, so you are never walking in the wrong direction.",
        "14.00",
        "808",
        "red,sport",
    ),
    (
        "dots-midnight",
        "Midnight Dots",
        "A clear night sky, knitted. Each dot was put there on purpose.",
        "12.99",
        "440",
        "blue,formal",
    ),
    (
        "hearts-rosa",
        "Rosa Hearts",
        "Says what you would rather not say aloud, from a safe distance.",
        "11.50",
        "202",
        "red,geek",
    ),
    (
        "mesh-teal",
        "Mesh Teal",
        "Every thread knows exactly which thread it is tied to, and checks. Our namesake.",
        "18.00",
        "1024",
        "blue,magic,geek",
    ),
    ("plain-oat", "Plain Oat", "Nothing to see here. That is the feature.", "7.99", "3000", "brown,large"),
    (
        "rings-harbour",
        "Harbour Rings",
        "Stripes in the colours of a ferry that is ten minutes late.",
        "13.25",
        "64",
        "blue,sport",
    ),
    ("rings-citrus", "Citrus Rings", "Loud. Visible from a hill. Helpful in fog.", "13.25", "77", "green,sport,action"),
    (
        "stars-violet",
        "Violet Stars",
        "Wear them inside out and it is day again. No refunds for eclipses.",
        "99.99",
        "1",
        "magic,action",
    ),
    ("tartan-rust", "Rust Tartan", "Compiles slowly, then never lets you down.", "17.32", "438", "brown,geek,formal"),
    ("waves-lagoon", "Lagoon Waves", "For feet that would rather be elsewhere.", "15.00", "820", "blue,large"),
    (
        "zebra-ink",
        "Ink Zebra",
        "Black with white stripes, or the other way round. The committee has not decided.",
        "10.99",
        "512",
        "black,action",
    ),
];

/// The tables of `catalogue-db`.
pub(crate) fn tables() -> Vec<Table> {
    let row = |(id, name, description, price, count, tags): &(&str, &str, &str, &str, &str, &str)| {
        let pictures = [format!("/catalogue/images/{id}.svg"), format!("/catalogue/images/{id}-pair.svg")];
        let [one, two] = pictures;
        vec![
            id.to_string(),
            name.to_string(),
            description.to_string(),
            price.to_string(),
            count.to_string(),
            one,
            two,
            tags.to_string(),
        ]
    };
    let mut tags: Vec<&str> = SOCKS.iter().flat_map(|sock| sock.5.split(',')).collect();
    tags.sort_unstable();
    tags.dedup();
    vec![
        Table { name: "sock", columns: COLUMNS, rows: SOCKS.iter().map(row).collect() },
        Table { name: "tag", columns: &["name"], rows: tags.into_iter().map(|tag| vec![tag.to_owned()]).collect() },
    ]
}

/// The documents of `user-db`: two customers who can log in at once.
pub(crate) fn customers() -> Vec<(&'static str, Value)> {
    let people = [
        ("57a98d98e4b00679b4a830af", "user", "password", "Ursula", "Seridan", "Wool Lane", "7"),
        ("57a98d98e4b00679b4a830b2", "eve", "eve", "Eve", "Berger", "Heel Street", "246"),
    ];
    let mut documents = Vec::new();
    for (id, username, password, first, last, street, number) in people {
        let (salt, hash) = hashed(password);
        let (address, card) = (format!("{id}-address"), format!("{id}-card"));
        documents.push((
            "customer",
            json!({
                "id": id, "username": username, "firstName": first, "lastName": last,
                "email": format!("{username}@sock-shop.example"), "salt": salt, "password": hash,
            }),
        ));
        documents.push((
            "address",
            json!({
                "id": address, "userID": id, "street": street, "number": number,
                "city": "Kassel", "postcode": "34117", "country": "Germany",
            }),
        ));
        documents
            .push(("card", json!({ "id": card, "userID": id, "longNum": "5953580604169678", "expires": "08/29" })));
    }
    documents
}
