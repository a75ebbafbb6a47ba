//! Messages from and to proto3's JSON form. prost has none, so it goes through prost-reflect's dynamic messages and the
//! contract's descriptors.

use anyhow::{Context, Result};
use parley_client::FILE_DESCRIPTOR_SET;
use prost::Name;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::Value;

pub struct Json {
    pool: DescriptorPool,
}

impl Json {
    pub fn new() -> Result<Self> {
        Ok(Self { pool: DescriptorPool::decode(FILE_DESCRIPTOR_SET)? })
    }

    /// The message that the value is the JSON form of; null stands for an empty one.
    pub fn parse<T: Name + Default>(&self, value: &Value) -> Result<T> {
        if value.is_null() {
            return Ok(T::default());
        }
        let message = DynamicMessage::deserialize(self.descriptor::<T>()?, value)?;
        Ok(message.transcode_to()?)
    }

    pub fn print<T: Name>(&self, message: &T) -> Result<Value> {
        let mut dynamic = DynamicMessage::new(self.descriptor::<T>()?);
        dynamic.transcode_from(message)?;
        Ok(serde_json::to_value(&dynamic)?)
    }

    fn descriptor<T: Name>(&self) -> Result<MessageDescriptor> {
        let name = T::full_name();
        self.pool.get_message_by_name(&name).with_context(|| format!("no message {name}"))
    }
}
