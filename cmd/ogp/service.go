package main

// unitName is the name of our service.
const unitName = "ogp"
