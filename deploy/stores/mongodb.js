// The shop's own user, which may use its database and no other. The MongoDB image runs this once, when its volume is empty.
db.getSiblingDB("cartwright").createUser({
  user: "cartwright",
  pwd: process.env.MONGODB_PASSWORD,
  roles: [
    { role: "readWrite", db: "cartwright" },
    { role: "dbAdmin", db: "cartwright" },
  ],
});
