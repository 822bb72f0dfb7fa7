//! From nodes to any type of serde, with errors that know the way to the value.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::fault::Fault;
use super::node::{Field, Kind, Node};

/// The fields that are not passed over, with their numbers.
fn fields(all: &[Field]) -> impl Iterator<Item = (usize, &Field)> {
    all.iter().enumerate().filter(|(_, field)| !field.value.skipped)
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(value) => visitor.visit_bool(*value),
            Kind::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), ..) => visitor.visit_u64(number),
                (None, Some(number), _) => visitor.visit_i64(number),
                (None, None, number) => visitor.visit_f64(number.unwrap_or(f64::NAN)),
            },
            Kind::Text(text) => visitor.visit_borrowed_str(text),
            Kind::List(items) => {
                let mut list = Items { items: items.iter().enumerate() };
                let value = visitor.visit_seq(&mut list)?;
                match list.items.find(|(_, item)| !item.skipped) {
                    Some((nth, _)) => Err(Fault::new("an item too much").remedy("remove it").within(nth)),
                    None => Ok(value),
                }
            }
            Kind::Table(all) => visitor.visit_map(Fields { fields: fields(all), value: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.kind {
            Kind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let found = match &self.kind {
            Kind::Text(text) => return visitor.visit_enum(text.as_str().into_deserializer()),
            Kind::Table(all) => {
                let mut fields = fields(all);
                match (fields.next(), fields.next()) {
                    (Some((nth, field)), None) => return visitor.visit_enum(Variant { nth, field }),
                    (Some(_), Some((nth, _))) => {
                        return Err(Fault::new("one field is expected, which says what it is")
                            .remedy("keep one of them")
                            .within(nth));
                    }
                    (None, _) => {
                        let message = "an object without a field; one is expected, which says what it is";
                        return Err(Fault::new(message).missing());
                    }
                }
            }
            Kind::Null => Unexpected::Unit,
            Kind::Bool(value) => Unexpected::Bool(*value),
            Kind::Number(number) => Unexpected::Float(number.as_f64().unwrap_or(f64::NAN)),
            Kind::List(_) => Unexpected::Seq,
        };
        Err(Fault::invalid_type(found, &format!("enum {name}").as_str()))
    }

    /// serde would take a list for a struct as well, field by field.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.kind {
            Kind::List(_) => Err(Fault::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map identifier ignored_any
    }
}

struct Items<'de> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> SeqAccess<'de> for &mut Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        match self.items.find(|(_, item)| !item.skipped) {
            Some((nth, item)) => seed.deserialize(item).map(Some).map_err(|fault| fault.within(nth)),
            None => Ok(None),
        }
    }
}

struct Fields<'de, I> {
    fields: I,
    value: Option<(usize, &'de Node)>,
}

impl<'de, I: Iterator<Item = (usize, &'de Field)>> MapAccess<'de> for Fields<'de, I> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((nth, field)) = self.fields.next() else {
            return Ok(None);
        };
        self.value = Some((nth, &field.value));
        let name: StrDeserializer<'_, Fault> = field.name.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|fault| fault.within(nth))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        match self.value.take() {
            Some((nth, value)) => seed.deserialize(value).map_err(|fault| fault.within(nth)),
            None => Err(Fault::new("a value without a name")),
        }
    }
}

/// `{"NAME": VALUE}`.
struct Variant<'de> {
    nth: usize,
    field: &'de Field,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let name: StrDeserializer<'_, Fault> = self.field.name.as_str().into_deserializer();
        let variant = seed.deserialize(name).map_err(|fault| fault.within(self.nth))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.field.value.kind {
            Kind::Null => Ok(()),
            _ => Err(Fault::new("this has no value").remedy("write the word alone").within(self.nth)),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(&self.field.value).map_err(|fault| fault.within(self.nth))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.field.value.deserialize_any(visitor).map_err(|fault| fault.within(self.nth))
    }

    fn struct_variant<V: Visitor<'de>>(self, names: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        self.field.value.deserialize_struct("", names, visitor).map_err(|fault| fault.within(self.nth))
    }
}
